//! Compiled plugins on disk, so that a runner compiles each of them once.
//!
//! wasmtime trusts an image as one trusts a program. So each carries a code that only this runner can make, and it is checked on
//! the very bytes that are then loaded. A process that can write into the folder but does not have the key gains nothing.

use hmac::{Hmac, KeyInit, Mac};
use millrace_core::Digest;
use sha2::Sha256;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Raise it when something changes that wasmtime's own check of compatibility does not see.
const REVISION: u32 = 1;

const KEY_BYTES: usize = 32;
const CODE_BYTES: usize = 32;

/// Largest image, in bytes: those of JavaScript and Python plugins have 37 MB.
const IMAGE_BYTES_MAX: u64 = 512 << 20;

/// A folder of compiled plugins.
#[derive(Debug)]
pub struct Images {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
}

impl Images {
    /// Opens a folder, which is made; on the first time with a key of its own.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let key = match read_key(&folder.join("key")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_key(folder)?,
            other => other?,
        };
        Ok(Self {
            folder: folder.to_owned(),
            key,
        })
    }

    /// The component with this digest, if its image is here, whole, and for this very engine.
    pub fn load(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        let name = name(engine, digest);
        let mut bytes = Vec::new();
        File::open(self.path(&name))
            .ok()?
            .take(IMAGE_BYTES_MAX)
            .read_to_end(&mut bytes)
            .ok()?;
        let (image, code) = bytes.split_at_checked(bytes.len().checked_sub(CODE_BYTES)?)?;
        self.code(&name, image).verify_slice(code).ok()?;
        // SAFETY: `deserialize` wants bytes that wasmtime made and nobody changed. The code over these very bytes was made with a
        // key that only this runner has, by `save`, from what `precompile_component` answered for this name; and the name has
        // wasmtime's version, its settings and the processor in it.
        unsafe { Component::deserialize(engine, image) }.ok()
    }

    /// Compiles a component and keeps its image.
    pub fn save(
        &self,
        engine: &Engine,
        digest: &Digest,
        component: &[u8],
    ) -> wasmtime::Result<Component> {
        let name = name(engine, digest);
        let image = engine.precompile_component(component)?;
        let code = self.code(&name, &image).finalize().into_bytes();
        // Never in place: another process may be reading. A failure to keep it costs a compilation next time, no more.
        let _ = self.replace(&name, &[&image, &code]);
        // SAFETY: these bytes come from `precompile_component` of the same engine just now, and have not left this process.
        unsafe { Component::deserialize(engine, &image) }
    }

    fn replace(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        parts.iter().try_for_each(|part| file.write_all(part))?;
        file.persist(self.path(name))
            .map(drop)
            .map_err(|error| error.error)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A code over name and image, so that no image can stand in for another.
    fn code(&self, name: &str, image: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(name.as_bytes());
        mac.update(&[0]);
        mac.update(image);
        mac
    }
}

/// The file of a component: its digest and all that decides whether an image of it fits an engine, which is wasmtime's version, the
/// settings of code generation and the processor.
fn name(engine: &Engine, digest: &Digest) -> String {
    let mut hasher = DefaultHasher::new();
    (
        REVISION,
        std::env::consts::ARCH,
        engine.precompile_compatibility_hash(),
    )
        .hash(&mut hasher);
    format!("{}-{:016x}.image", digest.hex(), hasher.finish())
}

fn read_key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    File::open(path)?.read_exact(&mut key)?;
    Ok(key)
}

/// Two runners that begin at once in one folder end up with one key: the link is made by one of them.
fn make_key(folder: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    let (new, path) = (
        folder.join(format!("key.{}", std::process::id())),
        folder.join("key"),
    );
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(&key)?;
    file.sync_all()?;
    let linked = fs::hard_link(&new, &path);
    fs::remove_file(&new)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => read_key(&path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::engine::{self, Code};
    use std::os::unix::fs::PermissionsExt;

    /// The smallest component: a header and nothing else (component model, binary format: version 13, layer 1).
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn image_in(folder: &Path) -> PathBuf {
        let is_image = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "image");
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(is_image)
            .unwrap()
    }

    #[test]
    fn an_image_is_loaded_only_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, images, digest) = (
            engine::wasmtime_engine(Code::of_this_machine()).unwrap(),
            Images::open(folder.path()).unwrap(),
            Digest::of(EMPTY),
        );
        assert!(images.load(&engine, &digest).is_none());
        images.save(&engine, &digest, EMPTY).unwrap();
        assert!(images.load(&engine, &digest).is_some());
        let path = image_in(folder.path());
        let whole = fs::read(&path).unwrap();
        for at in [
            0,
            7,
            18,
            whole.len() / 2,
            whole.len() - CODE_BYTES,
            whole.len() - 1,
        ] {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, changed).unwrap();
            assert!(images.load(&engine, &digest).is_none(), "byte {at}");
        }
        for length in [0, CODE_BYTES - 1, CODE_BYTES, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(images.load(&engine, &digest).is_none(), "cut to {length}");
        }
        fs::write(&path, &whole).unwrap();
        assert!(images.load(&engine, &digest).is_some());
    }

    #[test]
    fn an_image_does_not_stand_in_for_another_component() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, images) = (
            engine::wasmtime_engine(Code::of_this_machine()).unwrap(),
            Images::open(folder.path()).unwrap(),
        );
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        images.save(&engine, &one, EMPTY).unwrap();
        fs::rename(
            image_in(folder.path()),
            folder.path().join(name(&engine, &other)),
        )
        .unwrap();
        assert!(images.load(&engine, &other).is_none());
    }

    #[test]
    fn an_image_of_another_runner_is_not_loaded() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (engine, digest) = (
            engine::wasmtime_engine(Code::of_this_machine()).unwrap(),
            Digest::of(EMPTY),
        );
        let (ours, theirs) = (
            Images::open(here.path()).unwrap(),
            Images::open(there.path()).unwrap(),
        );
        theirs.save(&engine, &digest, EMPTY).unwrap();
        let theirs = image_in(there.path());
        fs::copy(&theirs, here.path().join(theirs.file_name().unwrap())).unwrap();
        assert!(ours.load(&engine, &digest).is_none());
    }

    #[test]
    fn the_key_is_for_its_owner_alone_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let first = Images::open(folder.path()).unwrap().key;
        assert_eq!(Images::open(folder.path()).unwrap().key, first);
        assert_eq!(
            fs::metadata(folder.path().join("key"))
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o600
        );
    }
}
