//! Command lines as people read and shells take them.

/// A command line as people would type it, on one line; of a script only how it begins.
pub(crate) fn one_line(argv: &[String]) -> String {
    /// Longer ones are lists of files, which nobody reads.
    const CHARACTERS_MAX: usize = 2000;
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-+=./:,@%^~".contains(c);
    let word = |word: &String| match word.trim().split_once('\n') {
        Some((first, _)) => format!("'{first} …'"),
        None if !word.is_empty() && word.chars().all(plain) => word.clone(),
        None => format!("'{}'", word.trim_end().replace('\'', r"'\''")),
    };
    let line = argv.iter().map(word).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(CHARACTERS_MAX) {
        Some((at, _)) => format!("{} …", &line[..at]),
        None => line,
    }
}

/// A word that a shell takes as it is.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let argv = [
            "rpmbuild",
            "--define",
            "dist .el9",
            "it's",
            "",
            "\nset -e\nmake\n",
        ]
        .map(str::to_owned);
        assert_eq!(
            one_line(&argv),
            r"rpmbuild --define 'dist .el9' 'it'\''s' '' 'set -e …'"
        );
    }
}
