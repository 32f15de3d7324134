//! A forge of bare git repositories in one folder, whose hook sends the webhook that Gitea sends.

use crate::command::{logged, output_of};
use crate::folders;
use crate::hex::hex;
use crate::http;
use anyhow::{Context, Result, bail};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The hidden verb that the hook runs.
pub const HOOK_VERB: &str = "forge-hook";

/// Commits get this time, so that a second run makes the same commits: the day that the specs' changelogs name.
const COMMIT_TIME: &str = "2026-11-23T12:00:00Z";

/// Where pushes are announced, and with which secret.
#[derive(Debug, Clone)]
pub struct Listener {
    /// `127.0.0.1:8470`.
    pub address: String,
    /// The file that holds the webhook secret.
    pub secret: PathBuf,
}

/// A repository of the forge.
#[derive(Debug)]
pub struct Repository {
    name: String,
    bare: PathBuf,
    log: PathBuf,
}

impl Repository {
    /// Makes an empty one in `forge`, with the hook.
    pub fn create(forge: &Path, name: &str, listener: &Listener) -> Result<Self> {
        let bare = forge.join("rpms").join(format!("{name}.git"));
        let log = forge.join(format!("{name}.log"));
        let repository = Self {
            name: name.to_owned(),
            bare,
            log,
        };
        logged(
            git()
                .args(["init", "--quiet", "--bare", "--initial-branch=main"])
                .arg(&repository.bare),
            &repository.log,
        )?;
        // A copy: a build may replace this program while it runs, and the hook is run later.
        let program = forge.join("xtask");
        std::fs::copy("/proc/self/exe", &program)?;
        let words = [
            program.display().to_string(),
            HOOK_VERB.to_owned(),
            listener.address.clone(),
            listener.secret.display().to_string(),
            name.to_owned(),
            repository.url(),
        ];
        let hook = repository.bare.join("hooks/post-receive");
        folders::write(
            &hook,
            format!(
                "#!/bin/sh\nexec {}\n",
                words.map(|word| quoted(&word)).join(" ")
            ),
        )?;
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755))?;
        Ok(repository)
    }

    /// Where it is cloned from.
    pub fn url(&self) -> String {
        format!("file://{}", self.bare.display())
    }

    /// Commits all that is in `folder` and pushes it; gives the commit and what git and the hook said.
    pub fn push(&self, folder: &Path) -> Result<(String, String)> {
        let run = |words: &[&str]| logged(git().arg("-C").arg(folder).args(words), &self.log);
        run(&["init", "--quiet", "--initial-branch=main"])?;
        run(&["add", "--all"])?;
        run(&[
            "commit",
            "--quiet",
            "--message",
            &format!("{}: first package", self.name),
        ])?;
        run(&["push", &self.url(), "main"])?;
        let said = std::fs::read_to_string(&self.log)?;
        let commit = output_of(git().arg("-C").arg(folder).args(["rev-parse", "HEAD"]))?;
        Ok((commit.trim().to_owned(), said))
    }
}

/// git without what the person has configured: signatures, templates and hooks of theirs have no place in a demo.
fn git() -> Command {
    let mut command = Command::new("git");
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    command
        .env("GIT_AUTHOR_DATE", COMMIT_TIME)
        .env("GIT_COMMITTER_DATE", COMMIT_TIME);
    command.args(["-c", "user.name=demo", "-c", "user.email=demo@localhost"]);
    command
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// What the hook does: for every reference that git names on standard input, it sends one signed delivery.
pub fn hook(words: &[String]) -> Result<()> {
    let [address, secret, name, url] = words else {
        bail!("the hook was called with {} words", words.len())
    };
    let secret = std::fs::read_to_string(secret)
        .with_context(|| format!("read the webhook secret {secret}"))?;
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input)?;
    for line in input.lines() {
        let [before, after, reference] = line.split(' ').collect::<Vec<_>>()[..] else {
            bail!("git says `{line}`")
        };
        let body = push_body(name, url, before, after, reference);
        let signature = signature(secret.trim(), &body);
        let delivery = std::fs::read_to_string("/proc/sys/kernel/random/uuid")
            .context("ask the kernel for a UUID")?;
        let headers = [
            ("X-Gitea-Event", "push"),
            ("X-Gitea-Delivery", delivery.trim()),
            ("X-Gitea-Signature", &signature),
        ];
        let answer = http::post(address, "/hooks/gitea", &headers, &body)?;
        println!("webhook: {} {}", answer.code, message(&answer.body));
    }
    Ok(())
}

fn message(body: &[u8]) -> String {
    let answer: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = answer
        .as_ref()
        .and_then(|answer| answer["message"].as_str());
    message.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned)
}

/// The body of Gitea's push event (docs.gitea.com, "Webhooks"), with the fields that matter.
fn push_body(name: &str, url: &str, before: &str, after: &str, reference: &str) -> Vec<u8> {
    let body = serde_json::json!({
        "ref": reference,
        "before": before,
        "after": after,
        "repository": {"name": name, "full_name": format!("rpms/{name}"), "clone_url": url, "default_branch": "main"},
        "pusher": {"login": "demo", "username": "demo"},
    });
    body.to_string().into_bytes()
}

/// HMAC-SHA256 in hexadecimal digits, as `X-Gitea-Signature` has it.
fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(body);
    hex(&mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_signed_as_rfc_4231_says() {
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"; // its test case 2
        assert_eq!(signature("Jefe", b"what do ya want for nothing?"), expected);
    }

    #[test]
    fn a_push_says_what_gitea_says() {
        let body = push_body(
            "zlib",
            "file:///forge/zlib.git",
            &"0".repeat(40),
            &"a".repeat(40),
            "refs/heads/main",
        );
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["repository"]["full_name"], "rpms/zlib");
        assert_eq!(body["after"], "a".repeat(40));
    }

    #[test]
    fn a_path_with_a_quote_stays_one_word() {
        assert_eq!(quoted("/home/o'neil/x y"), r"'/home/o'\''neil/x y'");
    }
}
