//! Whom a function itself lets invoke it: the policy that `AWS::Lambda::Permission` adds to.

use serde_json::Value;

/// Whether a function's policy lets somebody do something on behalf of a thing.
pub fn lets(policy: &Value, who: &str, action: &str, thing: &str) -> bool {
    let statements = policy["Statement"].as_array().into_iter().flatten();
    statements.into_iter().any(|statement| {
        let (whom, source) = (
            &statement["Principal"],
            &statement["Condition"]["ArnLike"]["AWS:SourceArn"],
        );
        statement["Effect"] == "Allow"
            && (whom == "*" || whom["AWS"] == "*" || whom["Service"] == who)
            && statement["Action"]
                .as_str()
                .is_some_and(|allowed| fits(allowed, action))
            && source.as_str().is_none_or(|source| fits(source, thing))
    })
}

/// Whether a text is what a pattern with stars says.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(start) else {
        return false;
    };
    (0..=text.len())
        .filter(|from| text.is_char_boundary(*from))
        .any(|from| fits(rest, &text[from..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_policy_lets_those_in_that_it_names() {
        let policy = json!({ "Statement": [
            { "Effect": "Allow", "Principal": { "Service": "apigateway.amazonaws.com" }, "Action": "lambda:InvokeFunction",
              "Condition": { "ArnLike": { "AWS:SourceArn": "arn:api/*/POST/hook/*" } } },
            { "Effect": "Allow", "Principal": "*", "Action": "lambda:InvokeFunctionUrl" },
        ] });
        let api = "apigateway.amazonaws.com";
        assert!(lets(
            &policy,
            api,
            "lambda:InvokeFunction",
            "arn:api/$default/POST/hook/{proxy+}"
        ));
        assert!(!lets(
            &policy,
            api,
            "lambda:InvokeFunction",
            "arn:api/$default/GET/page"
        ));
        assert!(!lets(
            &policy,
            "events.amazonaws.com",
            "lambda:InvokeFunction",
            "arn:api/$default/POST/hook/{proxy+}"
        ));
        assert!(lets(&policy, "anybody", "lambda:InvokeFunctionUrl", ""));
        assert!(!lets(&policy, "anybody", "lambda:InvokeFunction", ""));
        assert!(!lets(&Value::Null, api, "lambda:InvokeFunction", ""));
    }
}
