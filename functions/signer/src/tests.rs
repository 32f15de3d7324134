//! Stories: real packages from `rpmbuild`, signed, and what `rpmkeys` says of them.

mod names;
mod orders;
mod packages;
mod refusals;
mod rpms;
mod seals;

use crate::error::KeyError;
use crate::keys::{Algorithm, Keys};
use crate::{LocalKeys, sign_files};
use millrace_core::header::read_head;
use millrace_core::order::{OrderedFile, SignOrder, SignedFile};
use millrace_core::ownership::{ReleaseTarget, RepositoryNames};
use millrace_core::push::Package;
use millrace_core::{BuildId, KeyName, PlatformName, PushId, Timestamp};
use millrace_store::BlobStore as _;
use millrace_store::memory::MemoryStore;
use millrace_store::ownership::Inventory;
use millrace_store::packages::register;
use millrace_store::records::create;
use millrace_store::repository_names::keep;

const CREATED_S: u64 = 1_780_000_000;
const COMMITTED_S: u64 = 1_790_000_000;

struct Desk {
    _folder: tempfile::TempDir,
    keys: LocalKeys,
    store: MemoryStore,
}

fn key(name: &str) -> KeyName {
    KeyName::new(name).unwrap()
}

fn build_id() -> BuildId {
    BuildId::of_push(
        &PushId::new("push").unwrap(),
        &PlatformName::new("test").unwrap(),
    )
}

/// A desk with the keys `release` and `other`, both Ed25519 because that takes no time, and a platform that has released nothing.
async fn desk() -> Desk {
    let folder = tempfile::tempdir().unwrap();
    let keys = LocalKeys::open(&folder.path().join("keys")).unwrap();
    for name in ["release", "other"] {
        keys.create(
            &key(name),
            "Test <test@example.org>",
            Algorithm::Ed25519,
            CREATED_S,
        )
        .unwrap();
    }
    let store = MemoryStore::new();
    begin(&store).await;
    Desk {
        _folder: folder,
        keys,
        store,
    }
}

/// Says that the platform has released nothing, and that its repositories have one package.
async fn begin(store: &MemoryStore) {
    let target = ReleaseTarget::of_platform(&"test".parse().unwrap());
    let inventory = Inventory::of_new(target, Timestamp(CREATED_S * 1000));
    assert!(create(store, &inventory).await.unwrap());
    let hello = Package::new(
        "hello".parse().unwrap(),
        "http://forge/rpms/hello.git".to_owned(),
        Vec::new(),
        orders::NOW,
    );
    register(store, hello).await.unwrap();
    let mut names = RepositoryNames::default();
    names.add(&"gcc".parse().unwrap(), "gcc").unwrap();
    keep(&orders::platform(), &names, store, store, orders::NOW)
        .await
        .unwrap();
}

impl Desk {
    /// Keeps a file and orders it as what its header says; `like` says it if the header is not to be read.
    async fn file(&self, bytes: &[u8], like: &[u8]) -> OrderedFile {
        let rpm = read_head(like).unwrap().header.rpm().unwrap();
        let digest = self.store.put(bytes.to_vec()).await.unwrap();
        OrderedFile {
            name: format!("{rpm}.rpm"),
            digest,
            size: bytes.len() as u64,
            rpm,
        }
    }

    async fn order(&self, name: &str, files: &[&[u8]]) -> SignOrder {
        let mut ordered = Vec::new();
        for bytes in files {
            ordered.push(self.file(bytes, bytes).await);
        }
        SignOrder::new(build_id(), key(name), COMMITTED_S, ordered)
    }

    async fn bytes(&self, signed: &SignedFile) -> Vec<u8> {
        self.store.read_all(&signed.signed, u64::MAX).await.unwrap()
    }

    async fn signed(&self, name: &str, bytes: &[u8]) -> Vec<u8> {
        let order = self.order(name, &[bytes]).await;
        let signed = sign_files(&order, &self.keys, &self.store).await.unwrap();
        self.bytes(&signed[0]).await
    }

    /// What the signer says of a file that it does not sign.
    async fn refusal(&self, bytes: &[u8], like: &[u8]) -> String {
        let order = SignOrder::new(
            build_id(),
            key("release"),
            COMMITTED_S,
            vec![self.file(bytes, like).await],
        );
        let error = sign_files(&order, &self.keys, &self.store)
            .await
            .unwrap_err();
        assert!(error.is_refusal(), "{error:?}");
        error.to_string()
    }
}

/// The end of the key id, which every version of rpm prints.
fn key_id(keys: &LocalKeys, name: &str) -> String {
    keys.certificate(&key(name))
        .unwrap()
        .keyid()
        .to_hex()
        .to_lowercase()
        .split_off(8)
}

/// Whether `rpmkeys -Kv` found a good header signature and good digests. Its exit code says nothing: it is 0 for unsigned
/// packages too. rpm 4 writes "Header V4 RSA/SHA256 Signature, key ID 23d8cbdd: OK", later ones with other words between.
fn is_well_signed(said: &str, algorithm: &str, key_id: &str) -> bool {
    let said = said.to_lowercase();
    let signature = format!("v4 {}/sha256 signature, ", algorithm.to_lowercase());
    let good =
        |line: &str| line.contains(&signature) && line.contains(key_id) && line.ends_with(": ok");
    let all_ok = said
        .lines()
        .skip(1)
        .filter(|line| !line.is_empty())
        .all(|line| line.ends_with(": ok"));
    all_ok && said.lines().any(good) && said.contains("payload sha256 digest: ok")
}

/// A keeper of keys that is not well.
#[derive(Clone)]
enum FaultyKeys {
    /// It signs with another key than its certificate shows.
    Confused(LocalKeys),
    /// It does not answer.
    Silent(LocalKeys),
}

impl Keys for FaultyKeys {
    fn certificate(&self, key: &KeyName) -> Result<sequoia_openpgp::Cert, KeyError> {
        let (Self::Confused(keys) | Self::Silent(keys)) = self;
        keys.certificate(key)
    }

    fn sign_digest(
        &self,
        name: &KeyName,
        digest: &[u8],
    ) -> Result<sequoia_openpgp::crypto::mpi::Signature, KeyError> {
        match self {
            Self::Confused(keys) => keys.sign_digest(&key("other"), digest),
            Self::Silent(_) => Err(KeyError::Unavailable {
                key: name.clone(),
                source: std::io::ErrorKind::TimedOut.into(),
            }),
        }
    }
}
