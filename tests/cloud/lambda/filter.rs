//! Which records of a stream a function wants (AWS Lambda Developer Guide, "Control which events Lambda sends to your function").

use serde_json::Value;

/// A pattern: an object names what must be there, a list what it may be.
#[derive(Debug, Clone)]
pub struct Filter(Value);

impl Filter {
    /// Reads a pattern. One that cannot be read here, or says something that is not known here, ends the test.
    pub fn parse(pattern: &str) -> Self {
        let pattern: Value = serde_json::from_str(pattern)
            .unwrap_or_else(|error| panic!("filter {pattern}: {error}"));
        assert!(
            is_known(&pattern),
            "this emulator does not know all of the filter {pattern}"
        );
        Self(pattern)
    }

    /// Whether it wants a record.
    pub fn matches(&self, record: &Value) -> bool {
        fits(&self.0, Some(record))
    }
}

/// Operators, each the only thing in its object.
const OPERATORS: [&str; 2] = ["prefix", "exists"];

fn is_known(pattern: &Value) -> bool {
    match pattern {
        Value::Object(fields) => fields.values().all(is_known),
        Value::Array(choices) => choices.iter().all(|choice| match choice {
            Value::Object(operator) => {
                operator.len() == 1
                    && operator
                        .keys()
                        .all(|name| OPERATORS.contains(&name.as_str()))
            }
            Value::Array(_) => false,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn fits(pattern: &Value, found: Option<&Value>) -> bool {
    match pattern {
        Value::Object(fields) => fields
            .iter()
            .all(|(name, pattern)| fits(pattern, found.and_then(|found| found.get(name)))),
        Value::Array(choices) => choices.iter().any(|choice| is(choice, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn is(choice: &Value, found: Option<&Value>) -> bool {
    if let Some(wanted) = choice.get("exists") {
        return found.is_some() == (*wanted == true);
    }
    if let Some(prefix) = choice.get("prefix").and_then(Value::as_str) {
        return found
            .and_then(Value::as_str)
            .is_some_and(|text| text.starts_with(prefix));
    }
    found == Some(choice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(pk: &str) -> Value {
        json!({ "eventName": "INSERT", "dynamodb": { "Keys": { "pk": { "S": pk } } } })
    }

    #[test]
    fn all_of_the_fields_and_one_of_the_values() {
        let filter = Filter::parse(
            r#"{"eventName":["INSERT","MODIFY"],"dynamodb":{"Keys":{"pk":{"S":["letter"]}}}}"#,
        );
        assert!(filter.matches(&record("letter")));
        assert!(!filter.matches(&record("letters")), "a value is whole");
        assert!(
            !filter.matches(&json!({ "eventName": "INSERT" })),
            "what is not there is nothing"
        );
        let mut removed = record("letter");
        removed["eventName"] = json!("REMOVE");
        assert!(!filter.matches(&removed));
    }

    #[test]
    fn beginnings_and_what_must_not_be_there() {
        let filter = Filter::parse(
            r#"{"dynamodb":{"Keys":{"pk":{"S":[{"prefix":"build/"}]}},"OldImage":[{"exists":false}]}}"#,
        );
        assert!(filter.matches(&record("build/1")));
        assert!(!filter.matches(&record("letter")));
    }

    #[test]
    #[should_panic(expected = "does not know")]
    fn what_is_not_known_is_not_skipped() {
        Filter::parse(r#"{"eventName":[{"anything-but":"REMOVE"}]}"#);
    }
}
