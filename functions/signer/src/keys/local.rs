//! Signing keys in files of this machine.

use crate::error::KeyError;
use crate::keys::private::{KEY_BYTES_MAX, PrivateKey};
use crate::keys::{Algorithm, Keys};
use millrace_core::{KeyName, NameError};
use sequoia_openpgp::cert::Cert;
use sequoia_openpgp::crypto::mem::Protected;
use sequoia_openpgp::crypto::mpi;
use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// File names end so.
const ENDING: &str = "key";

/// Keys in files of one folder, readable by nobody else.
#[derive(Debug, Clone)]
pub struct LocalKeys {
    folder: PathBuf,
}

impl LocalKeys {
    /// Opens the folder, and makes it with mode 0700 if it is not there.
    pub fn open(folder: &Path) -> io::Result<Self> {
        if let Some(parent) = folder.parent() {
            std::fs::create_dir_all(parent)?;
        }
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => {
                closed_to_others(
                    folder,
                    std::fs::metadata(folder)?.permissions().mode(),
                    0o700,
                )
                .map_err(io::Error::other)?;
                Ok(Self {
                    folder: folder.to_owned(),
                })
            }
        }
    }

    /// Makes a key for this user id, and answers its certificate in ASCII armor. RSA takes seconds.
    ///
    /// `created_s` are seconds since 1970; they become part of the fingerprint, and no signature is older.
    pub fn create(
        &self,
        key: &KeyName,
        user_id: &str,
        algorithm: Algorithm,
        created_s: u64,
    ) -> Result<String, KeyError> {
        // An RSA key takes seconds: a name that is taken is refused before.
        if self.path(key).exists() {
            return Err(KeyError::Exists(key.clone()));
        }
        self.keep(
            key,
            &PrivateKey::generate(key, user_id, algorithm, created_s)?,
        )?;
        self.public(key)
    }

    /// Keeps a key under a name that no other key has.
    pub fn keep(&self, key: &KeyName, private: &PrivateKey) -> Result<(), KeyError> {
        self.write(key, &private.armored())
    }

    /// The names of all keys, in order.
    pub fn list(&self) -> io::Result<Vec<KeyName>> {
        let mut names = Vec::new();
        for file in std::fs::read_dir(&self.folder)? {
            let path = file?.path();
            let stem = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .filter(|_| path.extension().is_some_and(|ending| ending == ENDING));
            names.extend(stem.map(KeyName::new).and_then(Result::<_, NameError>::ok));
        }
        names.sort();
        Ok(names)
    }

    fn path(&self, key: &KeyName) -> PathBuf {
        self.folder.join(format!("{key}.{ENDING}"))
    }

    /// Writes a new file all at once. It has mode 0600 from its first moment (`tempfile` opens it so), and takes its name
    /// only if no other file has it.
    fn write(&self, key: &KeyName, bytes: &[u8]) -> Result<(), KeyError> {
        let unavailable = |source| KeyError::Unavailable {
            key: key.clone(),
            source,
        };
        let mut file = tempfile::Builder::new()
            .prefix(".new-")
            .tempfile_in(&self.folder)
            .map_err(unavailable)?;
        file.write_all(bytes)
            .and_then(|()| file.as_file().sync_all())
            .map_err(unavailable)?;
        file.persist_noclobber(self.path(key))
            .map_err(|error| match error.error.kind() {
                io::ErrorKind::AlreadyExists => KeyError::Exists(key.clone()),
                _ => unavailable(error.error),
            })?;
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(unavailable)
    }

    /// Reads a key with its private parts. The permissions are those of the file that is read, not of one that has its name
    /// a moment later.
    fn load(&self, key: &KeyName) -> Result<PrivateKey, KeyError> {
        let path = self.path(key);
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => KeyError::Missing(key.clone()),
            _ => KeyError::Unavailable {
                key: key.clone(),
                source,
            },
        };
        let mut file = File::open(&path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        closed_to_others(&path, about.permissions().mode(), 0o600)?;
        let unfit = |problem| KeyError::Unfit {
            key: key.clone(),
            problem,
        };
        if about.len() > KEY_BYTES_MAX as u64 {
            return Err(unfit("its file is too large for a key"));
        }
        let mut bytes = Protected::from(vec![0; about.len() as usize]);
        file.read_exact(&mut bytes).map_err(failed)?;
        PrivateKey::read(key, &bytes)
    }
}

impl Keys for LocalKeys {
    fn certificate(&self, key: &KeyName) -> Result<Cert, KeyError> {
        self.load(key).map(|private| private.certificate())
    }

    fn sign_digest(&self, key: &KeyName, digest: &[u8]) -> Result<mpi::Signature, KeyError> {
        self.load(key)?.sign_digest(key, digest)
    }
}

fn closed_to_others(path: &Path, mode: u32, want: u32) -> Result<(), KeyError> {
    let mode = mode & 0o777;
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(KeyError::Open {
            path: path.to_owned(),
            mode,
            want,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SignError;
    use crate::error::USER_ID_BYTES_MAX;
    use crate::header::{base64, hexadecimal};
    use crate::signature::{is_signed_by, sign_bytes};
    use sequoia_openpgp::packet::signature::subpacket::SubpacketTag;
    use sequoia_openpgp::parse::Parse as _;

    const CREATED_S: u64 = 1_780_000_000;
    const USER_ID: &str = "Example Linux <security@example.org>";

    fn name(text: &str) -> KeyName {
        KeyName::new(text).unwrap()
    }

    fn one_key() -> (tempfile::TempDir, LocalKeys, KeyName) {
        let folder = tempfile::tempdir().unwrap();
        let (keys, key) = (
            LocalKeys::open(&folder.path().join("var/keys")).unwrap(),
            name("release"),
        );
        keys.create(&key, USER_ID, Algorithm::Ed25519, CREATED_S)
            .unwrap();
        (folder, keys, key)
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_key_lies_in_a_file_of_its_owner_alone_and_nothing_else_is_left() {
        let (_folder, keys, key) = one_key();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&keys.folder), mode(&keys.path(&key))), (0o700, 0o600));
        assert_eq!(std::fs::read_dir(&keys.folder).unwrap().count(), 1);
        assert_eq!(keys.list().unwrap(), [key]);
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let (_folder, keys, key) = one_key();
        let before = std::fs::read(keys.path(&key)).unwrap();
        let error = keys
            .create(&key, USER_ID, Algorithm::Ed25519, CREATED_S)
            .unwrap_err();
        assert!(
            matches!(&error, KeyError::Exists(which) if *which == key),
            "{error}"
        );
        assert_eq!(std::fs::read(keys.path(&key)).unwrap(), before);
    }

    #[test]
    fn of_several_who_make_the_same_key_at_once_one_does_and_the_others_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let keys = LocalKeys::open(&folder.path().join("keys")).unwrap();
        let make = || keys.create(&name("release"), USER_ID, Algorithm::Ed25519, CREATED_S);
        let results = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect::<Vec<_>>()
        });
        let made: Vec<String> = results.into_iter().filter_map(Result::ok).collect();
        assert_eq!(made, [keys.public(&name("release")).unwrap()]);
        assert_eq!(std::fs::read_dir(&keys.folder).unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_others_can_read_is_not_used() {
        let (_folder, keys, key) = one_key();
        for mode in [0o640, 0o604, 0o620, 0o644] {
            set_mode(&keys.path(&key), mode);
            let error = keys.sign_digest(&key, &[0; 32]).unwrap_err();
            let words = error.to_string();
            assert!(
                words.contains(&format!("mode {mode:03o}")) && words.contains("chmod 600"),
                "{words}"
            );
        }
        set_mode(&keys.folder, 0o755);
        assert!(
            LocalKeys::open(&keys.folder)
                .unwrap_err()
                .to_string()
                .contains("chmod 700")
        );
    }

    #[test]
    fn a_key_that_is_not_there_says_how_to_make_it() {
        let (_folder, keys, _) = one_key();
        let error = keys.certificate(&name("other")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no key `other`: make it with `millrace key create other`, or bring one with `millrace key import other FILE`"
        );
    }

    #[test]
    fn user_ids_that_no_certificate_can_carry_are_refused() {
        let (_folder, keys, _) = one_key();
        for user_id in [
            "",
            "  ",
            "two\nlines",
            "bell\u{7}",
            &"x".repeat(USER_ID_BYTES_MAX + 1),
        ] {
            let error = keys
                .create(&name("other"), user_id, Algorithm::Ed25519, CREATED_S)
                .unwrap_err();
            assert!(matches!(error, KeyError::UserId), "{error}");
        }
        assert_eq!(keys.list().unwrap().len(), 1);
    }

    #[test]
    fn a_certificate_has_one_key_one_user_id_and_nothing_critical_that_rpm_4_does_not_know() {
        let (_folder, keys, key) = one_key();
        let certificate = keys.certificate(&key).unwrap();
        assert!(!certificate.is_tsk());
        assert_eq!(
            (certificate.keys().count(), certificate.userids().count()),
            (1, 1)
        );
        let user_id = certificate.userids().next().unwrap();
        assert_eq!(user_id.userid().value(), USER_ID.as_bytes());
        let certifications: Vec<_> = user_id.self_signatures().collect();
        assert_eq!(certifications.len(), 1);
        let known = [
            SubpacketTag::SignatureCreationTime,
            SubpacketTag::Issuer,
            SubpacketTag::KeyFlags,
        ];
        let critical = certifications[0]
            .hashed_area()
            .iter()
            .filter(|subpacket| subpacket.critical());
        assert!(
            critical
                .map(|subpacket| subpacket.tag())
                .all(|tag| known.contains(&tag))
        );
    }

    #[test]
    fn a_signature_is_the_same_every_time_and_never_older_than_its_key() {
        let (_folder, keys, key) = one_key();
        let certificate = keys.certificate(&key).unwrap();
        let made = sign_bytes(&keys, &key, b"header", CREATED_S - 1000).unwrap();
        assert!(is_signed_by(&certificate, &made.packet, b"header"));
        assert!(!is_signed_by(&certificate, &made.packet, b"Header"));
        assert_eq!(made, sign_bytes(&keys, &key, b"header", CREATED_S).unwrap());
        assert_ne!(
            made,
            sign_bytes(&keys, &key, b"header", CREATED_S + 1).unwrap()
        );
    }

    /// The private key's number as it could stand in a text: nine bytes of it from any place on, in base64 (whatever comes
    /// before them), in hexadecimal and as a list.
    fn secrets(keys: &LocalKeys, key: &KeyName) -> Vec<String> {
        let whole = keys.load(key).unwrap().armored();
        let whole = Cert::from_bytes(&whole).unwrap();
        let pair = whole
            .primary_key()
            .key()
            .clone()
            .parts_into_secret()
            .unwrap()
            .into_keypair()
            .unwrap();
        let bytes = pair.secret().map(|numbers| match numbers {
            mpi::SecretKeyMaterial::EdDSA { scalar } => scalar.value().to_vec(),
            other => panic!("not what was made: {}", other.algo().unwrap()),
        });
        let forms = |part: &[u8]| {
            let hexadecimal = hexadecimal(part);
            [
                base64(part),
                hexadecimal.to_uppercase(),
                hexadecimal,
                format!("{part:?}").trim_matches(['[', ']']).to_owned(),
            ]
        };
        bytes.windows(9).flat_map(forms).collect()
    }

    #[test]
    fn the_private_key_shows_in_no_output_and_no_error() {
        let (_folder, keys, key) = one_key();
        let secrets = secrets(&keys, &key);
        let path = keys.path(&key);
        let file = std::fs::read(&path).unwrap();
        assert!(
            secrets
                .iter()
                .any(|secret| String::from_utf8_lossy(&file).contains(secret)),
            "the search finds what is there"
        );

        let mut said = vec![
            format!("{keys:?} {keys:#?}"),
            keys.public(&key).unwrap(),
            format!("{:?}", keys.list()),
        ];
        let certificate = keys.certificate(&key).unwrap();
        said.push(format!("{certificate:?} {certificate:#?} {certificate}"));
        said.push(format!(
            "{:?}",
            sign_bytes(&keys, &key, b"header", CREATED_S).unwrap()
        ));
        let mut errors = vec![
            keys.create(&key, USER_ID, Algorithm::Ed25519, CREATED_S)
                .unwrap_err(),
            keys.create(&name("other"), "", Algorithm::Ed25519, CREATED_S)
                .unwrap_err(),
            keys.create(&name("other"), USER_ID, Algorithm::Ed25519, u64::MAX)
                .unwrap_err(),
            keys.certificate(&name("other")).unwrap_err(),
        ];
        for at in (0..file.len()).step_by(3) {
            let mut damaged = file.clone();
            damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
            std::fs::write(&path, &damaged).unwrap();
            errors.extend(keys.sign_digest(&key, &[7; 32]).err());
            std::fs::write(&path, &file[..at]).unwrap();
            errors.extend(keys.sign_digest(&key, &[7; 32]).err());
        }
        std::fs::write(&path, &file).unwrap();
        set_mode(&path, 0o644);
        errors.push(keys.certificate(&key).unwrap_err());
        assert!(errors.len() > 100, "damage must show: {}", errors.len());
        for error in errors {
            said.push(format!("{error} {error:?} {error:#?}"));
            let error = SignError::from(error);
            said.push(format!(
                "{error} {error:?} {:?}",
                std::error::Error::source(&error)
            ));
        }
        for text in said {
            assert!(
                !secrets.iter().any(|secret| text.contains(secret)),
                "tells of the private key: {text}"
            );
        }
    }
}
