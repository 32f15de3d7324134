//! Who does something to the line.

use crate::RunnerName;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// Who does something. Every verb has one, and what it changes keeps it.
///
/// [`Display`](fmt::Display) is for people. Records keep [`Actor::record`], which [`FromStr`] reads back: the kind, a colon and the
/// name, as `local:alice`. What has no kind is a plain name of a record from before there were actors, and is unverified.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Actor {
    /// Somebody who has signed in.
    Person(String),
    /// A program with a token, by the token's name.
    Token(String),
    /// Somebody whom a forge's signed webhook names.
    Webhook(String),
    /// A runner, by its token.
    Runner(RunnerName),
    /// The line itself, by its clock or its rules.
    Line,
    /// The user of a shell that has the line's state folder or its credentials.
    Local(String),
    /// A name that nobody has checked.
    Unverified(String),
}

impl Actor {
    /// Its name alone.
    pub fn name(&self) -> &str {
        match self {
            Self::Person(name)
            | Self::Token(name)
            | Self::Webhook(name)
            | Self::Local(name)
            | Self::Unverified(name) => name,
            Self::Runner(name) => name.as_str(),
            Self::Line => "the line",
        }
    }

    /// How records keep it.
    pub fn record(&self) -> String {
        match self {
            Self::Person(name) => format!("person:{name}"),
            Self::Token(name) => format!("token:{name}"),
            Self::Webhook(name) => format!("webhook:{name}"),
            Self::Runner(name) => format!("runner:{name}"),
            Self::Line => "line:".to_owned(),
            Self::Local(name) => format!("local:{name}"),
            // A name that looks like a kind does not become one when it is read back.
            Self::Unverified(name) if parse(name) != *self => format!("unverified:{name}"),
            Self::Unverified(name) => name.clone(),
        }
    }
}

fn parse(text: &str) -> Actor {
    let unverified = || Actor::Unverified(text.to_owned());
    let Some((kind, name)) = text.split_once(':') else {
        return unverified();
    };
    match kind {
        "person" => Actor::Person(name.to_owned()),
        "token" => Actor::Token(name.to_owned()),
        "webhook" => Actor::Webhook(name.to_owned()),
        "runner" => RunnerName::new(name).map_or_else(|_| unverified(), Actor::Runner),
        "line" if name.is_empty() => Actor::Line,
        "local" => Actor::Local(name.to_owned()),
        "unverified" => Actor::Unverified(name.to_owned()),
        _ => unverified(),
    }
}

impl FromStr for Actor {
    type Err = Infallible;
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(parse(text))
    }
}

impl From<String> for Actor {
    fn from(text: String) -> Self {
        parse(&text)
    }
}

impl From<Actor> for String {
    fn from(actor: Actor) -> Self {
        actor.record()
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(name) => write!(f, "token {name}"),
            Self::Runner(name) => write!(f, "runner {name}"),
            Self::Person(_)
            | Self::Webhook(_)
            | Self::Line
            | Self::Local(_)
            | Self::Unverified(_) => f.write_str(self.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::build::{End, Stage};
    use crate::hold::{Hold, SessionEnd};
    use crate::task::Retried;

    #[test]
    fn an_actor_is_read_back_from_its_record() {
        let actors = [
            Actor::Person("alice".to_owned()),
            Actor::Token("ci".to_owned()),
            Actor::Webhook("dana".to_owned()),
            Actor::Runner("x86_64-1".parse().unwrap()),
            Actor::Line,
            Actor::Local("erin".to_owned()),
            Actor::Unverified("alice".to_owned()),
            Actor::Unverified("a:b".to_owned()),
        ];
        for actor in actors {
            assert_eq!(actor.record().parse(), Ok(actor));
        }
    }

    #[test]
    fn a_name_of_an_older_record_is_unverified() {
        let old: Actor = serde_json::from_str(r#""alice""#).unwrap();
        assert_eq!(old, Actor::Unverified("alice".to_owned()));
        assert_eq!(serde_json::to_string(&old).unwrap(), r#""alice""#);
    }

    #[test]
    fn a_build_and_a_hold_of_an_older_line_name_who_is_unverified() {
        let alice = Actor::Unverified("alice".to_owned());
        let cancelled = r#"{"stage":"ended","end":{"end":"cancelled","by":"alice"}}"#;
        let stage: Stage = serde_json::from_str(cancelled).unwrap();
        let end = End::Cancelled { by: alice.clone() };
        assert_eq!(stage, Stage::Ended { end });
        assert_eq!(serde_json::to_string(&stage).unwrap(), cancelled);

        let retried = r#"{"by":"alice","at":1700000000000,"attempts":1}"#;
        let retried: Retried = serde_json::from_str(retried).unwrap();
        assert_eq!(retried.by, alice);

        let hold = r#"{"build":"b1","task":"rpm@x86_64","lease":2,"runner":"r1","since":1,"until":2,
            "failed":{"line":"make","cwd":"/work","ended":"ended with status 1"},"unwanted_by":"alice",
            "sessions":[{"number":1,"by":"alice","since":1,"wants":"command","argv":["ls"],"ended":[2,{"how":"taken","by":"alice"}]}]}"#;
        let hold: Hold = serde_json::from_str(hold).unwrap();
        assert_eq!(hold.unwanted_by, Some(alice.clone()));
        let [session] = &hold.sessions[..] else {
            panic!("{hold:?}")
        };
        let taken = SessionEnd::Taken { by: alice.clone() };
        assert_eq!(session.by, alice);
        assert_eq!(session.ended, Some((Timestamp(2), taken)));
    }

    #[test]
    fn nobody_becomes_a_person_by_their_name() {
        for name in [
            "person:alice",
            "line:",
            "unverified:alice",
            "runner:x86_64-1",
        ] {
            for actor in [
                Actor::Unverified(name.to_owned()),
                Actor::Local(name.to_owned()),
            ] {
                assert_eq!(actor.record().parse(), Ok(actor));
            }
        }
    }
}
