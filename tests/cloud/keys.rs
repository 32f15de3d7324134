//! Keys of a line in the cloud: in KMS, and in secrets that somebody has put one into.

use crate::lambda::{Lambda, Options};
use crate::services::{config, name, wait_for};
use crate::stack::{Stack, variable};
use aws_sdk_kms::types::{KeySpec, KeyUsageType};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millrace_core::KeyName;
use millrace_signer::{Algorithm, CloudKeys, KeyError, Keys, LocalKeys, PrivateKey, seal};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const CREATED_S: u64 = 1_780_000_000;
const SIGNED_S: u64 = 1_790_000_000;
const USER_ID: &str = "Example Linux <security@example.org>";

/// The shortest time that KMS takes to remove a key.
const KMS_DAYS: i32 = 7;

fn key() -> KeyName {
    KeyName::new("release").unwrap()
}

/// A secret as the template makes it, without a value; removed when this is dropped.
struct Secret {
    arn: String,
}

impl Secret {
    async fn empty() -> Self {
        let client = aws_sdk_secretsmanager::Client::new(&config().await);
        let made = client.create_secret().name(name()).send().await.unwrap();
        let arn = made.arn.unwrap();
        // The emulator gives it a version that has no value, as the service does not.
        let about = client
            .describe_secret()
            .secret_id(&arn)
            .send()
            .await
            .unwrap();
        for version in about
            .version_ids_to_stages()
            .into_iter()
            .flat_map(|versions| versions.keys())
        {
            let taken = client
                .update_secret_version_stage()
                .secret_id(&arn)
                .version_stage("AWSCURRENT");
            taken.remove_from_version_id(version).send().await.unwrap();
        }
        Self { arn }
    }

    async fn put(&self, value: &str) {
        let client = aws_sdk_secretsmanager::Client::new(&config().await);
        client
            .put_secret_value()
            .secret_id(&self.arn)
            .secret_string(value)
            .send()
            .await
            .unwrap();
    }

    async fn value(&self) -> String {
        let client = aws_sdk_secretsmanager::Client::new(&config().await);
        client
            .get_secret_value()
            .secret_id(&self.arn)
            .send()
            .await
            .unwrap()
            .secret_string
            .unwrap()
    }

    fn places(&self) -> String {
        format!("{}={}", key(), self.arn)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let arn = self.arn.clone();
        wait_for(async move {
            let client = aws_sdk_secretsmanager::Client::new(&config().await);
            client
                .delete_secret()
                .secret_id(arn)
                .force_delete_without_recovery(true)
                .send()
                .await
                .unwrap();
        });
    }
}

/// A key in KMS, let go when this is dropped.
struct Kms {
    arn: String,
}

impl Kms {
    async fn new(spec: KeySpec) -> Self {
        let client = aws_sdk_kms::Client::new(&config().await);
        let made = client
            .create_key()
            .key_spec(spec)
            .key_usage(KeyUsageType::SignVerify)
            .send()
            .await
            .unwrap();
        Self {
            arn: made.key_metadata.unwrap().arn.unwrap(),
        }
    }
}

impl Drop for Kms {
    fn drop(&mut self) {
        let arn = self.arn.clone();
        wait_for(async move {
            let client = aws_sdk_kms::Client::new(&config().await);
            client
                .schedule_key_deletion()
                .key_id(arn)
                .pending_window_in_days(KMS_DAYS)
                .send()
                .await
                .unwrap();
        });
    }
}

async fn keys(places: &str) -> CloudKeys {
    CloudKeys::new(&config().await, places.parse().unwrap(), USER_ID).unwrap()
}

/// Asks keys for something where waiting for the answer holds up nobody.
async fn ask<T: Send + 'static>(
    keys: &CloudKeys,
    ask: impl FnOnce(CloudKeys) -> T + Send + 'static,
) -> T {
    let keys = keys.clone();
    tokio::task::spawn_blocking(move || ask(keys))
        .await
        .unwrap()
}

/// A key that signs quickly, and the same in a folder.
fn made(folder: &Path) -> (PrivateKey, LocalKeys) {
    let private = PrivateKey::generate(&key(), USER_ID, Algorithm::Ed25519, CREATED_S).unwrap();
    let local = LocalKeys::open(&folder.join("keys")).unwrap();
    local.keep(&key(), &private).unwrap();
    (private, local)
}

fn text_of(private: &PrivateKey) -> String {
    String::from_utf8(private.armored().to_vec()).unwrap()
}

/// A `millrace` command that works on a line with such keys.
fn command(folder: &Path, endpoint: Option<&str>, places: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(variable("MILLRACE_BIN"));
    command
        .arg("--state")
        .arg(folder.join("state"))
        .args(arguments);
    command.envs([
        ("MILLRACE_TABLE", "none"),
        ("MILLRACE_BUCKET", "none"),
        ("MILLRACE_KEYS", places),
    ]);
    if let Some(endpoint) = endpoint {
        command.env("AWS_ENDPOINT_URL", endpoint);
        command.envs([
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-east-1"),
        ]);
    }
    command
}

/// What one said over the services of the stores: see [`said`].
async fn millrace(folder: &Path, places: &str, arguments: &[&str], input: &str) -> (bool, String) {
    said(
        command(folder, config().await.endpoint_url(), places, arguments),
        input,
    )
    .await
}

/// What a command said: whether it did what it should, and all of its output.
async fn said(mut command: Command, input: &str) -> (bool, String) {
    let input = input.to_owned();
    let run = move || {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that refuses before reading closes the pipe.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_a_secret_signs_what_the_same_key_in_a_file_signs() {
    let (folder, secret) = (tempfile::tempdir().unwrap(), Secret::empty().await);
    let (private, local) = made(folder.path());
    secret.put(&text_of(&private)).await;
    let keys = keys(&secret.places()).await;
    let sealed = ask(&keys, |keys| seal(&keys, &key(), b"<repomd/>", SIGNED_S))
        .await
        .unwrap();
    assert_eq!(
        sealed,
        seal(&local, &key(), b"<repomd/>", SIGNED_S).unwrap(),
        "it verifies, and is the same every time"
    );
    assert_eq!(
        ask(&keys, |keys| keys.public(&key())).await.unwrap(),
        local.public(&key()).unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_secret_says_what_to_do_and_the_same_signer_signs_once_that_is_done() {
    let (folder, secret) = (tempfile::tempdir().unwrap(), Secret::empty().await);
    let (private, local) = made(folder.path());
    let keys = keys(&secret.places()).await;
    let error = ask(&keys, |keys| keys.public(&key())).await.unwrap_err();
    assert!(matches!(&error, KeyError::Empty(_)), "{error}");
    assert_eq!(
        error.to_string(),
        "there is no key in the secret of `release` yet: bring one with `millrace key import release FILE`, or make one with \
         `millrace key create release`"
    );
    let imported = millrace(
        folder.path(),
        &secret.places(),
        &["key", "import", "release", "-"],
        &text_of(&private),
    )
    .await;
    assert!(
        imported.0 && imported.1.contains(&private.fingerprint()),
        "{imported:?}"
    );
    assert_eq!(
        ask(&keys, |keys| keys.public(&key())).await.unwrap(),
        local.public(&key()).unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_takes_one_key_and_keeps_it() {
    let (folder, secret) = (tempfile::tempdir().unwrap(), Secret::empty().await);
    let create = ["key", "create", "release", "--algorithm", "ed25519"];
    let created = millrace(folder.path(), &secret.places(), &create, "").await;
    assert!(created.0, "{created:?}");
    let first = secret.value().await;
    let another = text_of(&made(folder.path()).0);
    for (arguments, input) in [
        (&create[..], ""),
        (&["key", "import", "release", "-"][..], &another),
    ] {
        let (done, said) = millrace(folder.path(), &secret.places(), arguments, input).await;
        assert!(
            !done && said.contains("there is a key `release` already"),
            "{said}"
        );
    }
    assert_eq!(secret.value().await, first);
    let keys = keys(&secret.places()).await;
    ask(&keys, |keys| seal(&keys, &key(), b"<repomd/>", SIGNED_S))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_has_no_place_or_another_kind_of_place_is_refused_with_what_to_do() {
    let (folder, secret) = (tempfile::tempdir().unwrap(), Secret::empty().await);
    let (private, _) = made(folder.path());
    let kms = "release=arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let (done, said) = millrace(
        folder.path(),
        kms,
        &["key", "import", "release", "-"],
        &text_of(&private),
    )
    .await;
    assert!(
        !done && said.contains("--parameter KeyKeptIn=secret"),
        "{said}"
    );
    let (done, said) = millrace(
        folder.path(),
        &secret.places(),
        &["key", "create", "other"],
        "",
    )
    .await;
    assert!(
        !done && said.contains("the line has no place for a key `other`"),
        "{said}"
    );
    let (done, said) = millrace(folder.path(), &secret.places(), &["key", "list"], "").await;
    assert!(done && said.contains(&secret.arn), "{said}");
    let keys = keys(&secret.places()).await;
    let error = ask(&keys, |keys| keys.public(&KeyName::new("other").unwrap()))
        .await
        .unwrap_err();
    assert!(matches!(error, KeyError::Unplaced(_)), "{error}");
}

/// With the rights of its role alone, in services that respect them.
#[tokio::test(flavor = "multi_thread")]
async fn the_signer_as_it_is_deployed_reads_the_key_that_was_brought_and_no_other_function_may() {
    let folder = tempfile::tempdir().unwrap();
    let (private, local) = made(folder.path());
    let stack = Stack::bringing();
    let secret = stack.empty_secret().await;
    let programs = PathBuf::from(variable("MILLRACE_FUNCTIONS"));
    let mut options = Options::new(&stack.endpoint, &stack.name, move |_, _| {
        programs.join("millrace-signer")
    });
    options.auth = true;
    let lambda = Lambda::start(options).await.unwrap();
    let key = stack.keys().split_once('=').unwrap().0.to_owned();
    let command = |arguments: &[&str]| {
        let mut command = command(
            folder.path(),
            Some(&stack.endpoint),
            stack.keys(),
            arguments,
        );
        command
            .env("MILLRACE_SIGN", format!("{}-sign", stack.name))
            .env("AWS_ENDPOINT_URL_LAMBDA", lambda.calls());
        command
    };
    let show = ["key", "show", &key];
    let (done, told) = said(command(&show), "").await;
    assert!(
        !done && told.contains(&format!("millrace key import {key}")),
        "{told}"
    );
    let (done, told) = said(command(&["key", "import", &key, "-"]), &text_of(&private)).await;
    assert!(done, "{told}");
    let (done, told) = said(command(&show), "").await;
    assert!(
        done,
        "{told}\n{}",
        std::fs::read_to_string(lambda.log("sign")).unwrap_or_default()
    );
    assert_eq!(
        told.trim_end(),
        local.public(&self::key()).unwrap().trim_end()
    );
    for other in [
        "hooks",
        "fetch",
        "desk",
        "messages",
        "sweep",
        "release",
        "repository",
        "web",
    ] {
        assert!(
            !stack
                .may(other, "secretsmanager:GetSecretValue", &secret)
                .await,
            "{other} may read the key"
        );
    }
    assert!(
        stack
            .may("sign", "secretsmanager:GetSecretValue", &secret)
            .await
    );
}

/// Nine bytes of the private number from any place on, as they could stand in a text: in hexadecimal, as a list, and in base64
/// whatever comes before them.
fn secrets(private: &PrivateKey) -> Vec<String> {
    let text = text_of(private);
    let body: String = text
        .lines()
        .skip_while(|line| !line.is_empty())
        .take_while(|line| !line.starts_with(['=', '-']))
        .collect();
    let bytes = STANDARD.decode(body).unwrap();
    // The packet's head is two bytes; the private number is its last but for a sum of two (RFC 9580, 5.5.3).
    let end = 2 + usize::from(bytes[1]) - 2;
    let forms = |part: &[u8]| {
        let hexadecimal: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
        let list = format!("{part:?}").trim_matches(['[', ']']).to_owned();
        [
            hexadecimal.to_uppercase(),
            hexadecimal,
            list,
            STANDARD.encode(part),
        ]
    };
    bytes[end - 32..end].windows(9).flat_map(forms).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_word_of_the_signer_or_of_a_command_tells_of_a_private_key() {
    let (folder, secret) = (tempfile::tempdir().unwrap(), Secret::empty().await);
    let (private, _) = made(folder.path());
    let (secrets, text) = (secrets(&private), text_of(&private));
    let unbroken: String = text.lines().collect();
    assert!(
        secrets.iter().any(|secret| unbroken.contains(secret)),
        "the search finds what is there"
    );
    let (first, rest) = text.split_at(text.len() / 2);
    let mut said = Vec::new();
    for damaged in [
        format!("{first}A{rest}"),
        first.to_owned(),
        rest.to_owned(),
        format!("{text}{text}"),
    ] {
        secret.put(&damaged).await;
        let keys = keys(&secret.places()).await;
        // Where the damage is beyond the key itself, it signs.
        if let Err(error) = ask(&keys, |keys| seal(&keys, &key(), b"<repomd/>", SIGNED_S)).await {
            said.push(format!("{error} {error:?} {error:#?} {keys:?}"));
        }
        let other = Secret::empty().await;
        let (done, output) = millrace(
            folder.path(),
            &other.places(),
            &["key", "import", "release", "-"],
            &damaged,
        )
        .await;
        assert!(!done, "{output}");
        said.push(output);
    }
    secret.put(&text).await;
    let keys = keys(&secret.places()).await;
    ask(&keys, |keys| seal(&keys, &key(), b"<repomd/>", SIGNED_S))
        .await
        .unwrap();
    said.push(format!("{keys:?} {keys:#?} {private:?} {private:#?}"));
    said.push(ask(&keys, |keys| keys.public(&key())).await.unwrap());
    let gone = format!(
        "release={}",
        secret.arn.replace("millrace-test", "millrace-gone")
    );
    said.push(
        millrace(
            folder.path(),
            &gone,
            &["key", "import", "release", "-"],
            &text,
        )
        .await
        .1,
    );
    let new = Secret::empty().await;
    said.push(
        millrace(
            folder.path(),
            &new.places(),
            &["key", "import", "release", "-", "--json"],
            &text,
        )
        .await
        .1,
    );
    for text in said {
        let unbroken: String = text.lines().map(str::trim).collect();
        assert!(
            !secrets.iter().any(|secret| unbroken.contains(secret)),
            "tells of the private key: {text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_both_kinds_in_kms_sign_and_their_signatures_verify() {
    for spec in [KeySpec::Rsa4096, KeySpec::EccNistEdwards25519] {
        let kms = Kms::new(spec).await;
        let keys = keys(&format!("release={}", kms.arn)).await;
        let sealed = ask(&keys, |keys| seal(&keys, &key(), b"<repomd/>", SIGNED_S))
            .await
            .unwrap();
        assert_eq!(
            ask(&keys, |keys| seal(&keys, &key(), b"<repomd/>", SIGNED_S))
                .await
                .unwrap(),
            sealed
        );
    }
}
