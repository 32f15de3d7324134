//! Commands on signing keys.

use crate::arguments::{Algorithm, Key};
use crate::ending::NotFound;
use crate::keyring::Keyring;
use crate::output::Output;
use crate::state::{Folder, now};
use anyhow::{Context, Result, ensure};
use millrace_core::KeyName;
use millrace_core::chain;
use millrace_releaser::Seal as _;
use millrace_signer::PrivateKey;
use serde_json::json;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Largest file that a key is looked for in, in bytes: one that very many have certified has some hundred thousand.
const OFFERED_BYTES_MAX: u64 = 1024 * 1024;

pub(super) async fn key(folder: &Folder, output: Output, command: Key) -> Result<()> {
    match command {
        Key::Create {
            name,
            user_id,
            algorithm,
        } => create(folder, output, name, user_id, algorithm).await,
        Key::Import {
            name,
            file,
            password_file,
        } => import(folder, output, &name, &file, password_file.as_deref()).await,
        Key::List => list(&folder.keyring().await?, output),
        Key::Show { name } => show(folder, output, &name).await,
    }
}

async fn create(
    folder: &Folder,
    output: Output,
    name: KeyName,
    user_id: String,
    algorithm: Algorithm,
) -> Result<()> {
    let algorithm = match algorithm {
        Algorithm::Rsa4096 => millrace_signer::Algorithm::Rsa4096,
        Algorithm::Ed25519 => millrace_signer::Algorithm::Ed25519,
    };
    let keyring = folder.keyring().await?;
    keyring.takes(&name).await?;
    output.say("making a key; an RSA key takes some seconds")?;
    let made = name.clone();
    let at = now().0 / 1000;
    let generate = move || PrivateKey::generate(&made, &user_id, algorithm, at);
    let private = tokio::task::spawn_blocking(generate).await??;
    keyring.keep(&name, &private).await?;
    output.one(&json!({"key": name}), |_| {
        format!("key {name} is made; `millrace key show {name}` prints its public half")
    })
}

async fn import(
    folder: &Folder,
    output: Output,
    name: &KeyName,
    file: &Path,
    password_file: Option<&Path>,
) -> Result<()> {
    let keyring = folder.keyring().await?;
    keyring.takes(name).await?;
    ensure!(
        !(is_standard_input(file) && password_file.is_some_and(is_standard_input)),
        "key and password cannot both come from standard input: name a file for one of them"
    );
    let bytes = offered(file)?;
    let password = password_file.map(offered).transpose()?;
    let private = PrivateKey::import(name, bytes, password, now().0 / 1000)?;
    keyring.keep(name, &private).await?;
    let fingerprint = private.fingerprint();
    output.one(&json!({"key": name, "fingerprint": fingerprint}), |_| {
        format!("key {name} is imported: {fingerprint}; `millrace key show {name}` prints its public half")
    })
}

fn list(keyring: &Keyring, output: Output) -> Result<()> {
    let keys = keyring.list()?;
    let values: Vec<_> = keys
        .into_iter()
        .map(|(key, place)| match place {
            Some(place) => json!({"key": key, "place": place}),
            None => json!({"key": key}),
        })
        .collect();
    output.list(&values, "no keys yet: `millrace key create NAME`", |key| {
        let text = |name: &str| key[name].as_str().unwrap_or_default();
        format!("{:<24} {}", text("key"), text("place"))
            .trim_end()
            .to_owned()
    })
}

async fn show(folder: &Folder, output: Output, name: &KeyName) -> Result<()> {
    let certificate = folder
        .seal()
        .await?
        .public_key(name)
        .await
        .map_err(|error| NotFound(chain(&error)))?;
    let text = String::from_utf8_lossy(&certificate).trim_end().to_owned();
    output.one(&json!({"key": name, "certificate": text}), |_| text.clone())
}

fn is_standard_input(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// What is in a file that somebody names, or on standard input.
fn offered(file: &Path) -> Result<Vec<u8>> {
    let (mut bytes, most) = (Vec::new(), OFFERED_BYTES_MAX + 1);
    let read = if is_standard_input(file) {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        File::open(file).and_then(|from| from.take(most).read_to_end(&mut bytes))
    };
    let read = read.with_context(|| file.display().to_string())?;
    ensure!(
        read as u64 <= OFFERED_BYTES_MAX,
        "{} is too large for a key: {OFFERED_BYTES_MAX} bytes at most",
        file.display()
    );
    Ok(bytes)
}
