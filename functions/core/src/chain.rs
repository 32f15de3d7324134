//! An error together with what caused it, for logs and for people who are told once.

use std::error::Error;

/// What an error says, and what its causes say, from the outermost to the innermost. A cause that the text ends with already is not
/// repeated.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let says = error.to_string();
        if !text.ends_with(&says) {
            text = format!("{text}: {says}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Layer {
        #[error("the record cannot be read")]
        Outer(#[source] std::io::Error),
        #[error("the folder: {0}")]
        Says(#[source] std::io::Error),
    }

    #[test]
    fn every_cause_is_said_once() {
        let cause = || std::io::Error::other("the disk is full");
        assert_eq!(
            chain(&Layer::Outer(cause())),
            "the record cannot be read: the disk is full"
        );
        assert_eq!(chain(&Layer::Says(cause())), "the folder: the disk is full");
    }
}
