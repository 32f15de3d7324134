//! Questions on a terminal.

use anyhow::{Result, ensure};
use std::io::{BufRead, IsTerminal, Write};

/// Asks whether to go on.
pub fn agreed(question: &str) -> Result<bool> {
    ensure_somebody()?;
    Ok(matches!(
        answer(question)?.to_lowercase().as_str(),
        "y" | "yes"
    ))
}

/// Fails if nobody can answer.
pub fn ensure_somebody() -> Result<()> {
    ensure!(
        std::io::stdin().is_terminal(),
        "nobody is there to agree: use --yes"
    );
    Ok(())
}

/// Asks, and waits for a line.
pub fn answer(question: &str) -> Result<String> {
    eprint!("{question}");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}
