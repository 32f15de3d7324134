//! A line of made-up records, kept in memory.

use super::states::every_state;
use super::story::{announced, platform};
use millrace_core::build::Build;
use millrace_core::log::{Chunk, LogIndex};
use millrace_core::push::{Announced, Package, PushRecord, PushState};
use millrace_core::task::Artifact;
use millrace_store::memory::MemoryStore;
use millrace_store::records::put;
use millrace_store::{BlobStore, Expect, IndexEntry, Key, StateStore, Stored, Table, Write};

pub struct World {
    pub store: MemoryStore,
}

impl World {
    pub fn empty() -> Self {
        Self {
            store: MemoryStore::new(),
        }
    }

    /// A line with a platform, a build in every state, a push that is being fetched and one that was refused.
    pub async fn busy() -> Self {
        let world = Self::empty();
        put(
            &world.store,
            Table::Platform,
            "almalinux-9",
            Expect::Absent,
            &platform(),
            Vec::new(),
        )
        .await
        .unwrap();
        for build in every_state() {
            world.keep(&build).await;
        }
        world
            .keep_push(&PushRecord {
                announced: announced("perl", 0),
                state: PushState::Fetching,
            })
            .await;
        let reason = "sources: zstd-1.5.7.tar.gz has the digest sha512:9a31…, and `sources` says sha512:77c0….\nUpload it again with `fedpkg new-sources`, or mend the line in `sources`.";
        let refused = PushRecord {
            announced: announced("zstd", 20),
            state: PushState::Refused {
                reason: reason.to_owned(),
            },
        };
        world.keep_push(&refused).await;
        world
    }

    pub async fn keep(&self, build: &Build) {
        let announced = &build.push.announced;
        let kept = build.write(Expect::Absent).unwrap();
        self.store.save(kept.into()).await.unwrap();
        self.keep_push(&PushRecord {
            announced: announced.clone(),
            state: PushState::Planned {
                builds: vec![build.id.clone()],
            },
        })
        .await;
        for artifact in build.tasks.iter().flat_map(|task| task.artifacts()) {
            self.store
                .put(bytes_of(announced.package.as_str(), artifact))
                .await
                .unwrap();
        }
        for task in &build.tasks {
            for number in task
                .attempts
                .iter()
                .map(|attempt| attempt.number)
                .chain(task.lease().map(|lease| lease.number))
            {
                let text = format!(
                    "+ rpmbuild --rebuild {}.src.rpm\n\u{1b}[32mchecking for gcc... gcc\u{1b}[0m\n<b>not bold</b>\n",
                    announced.package
                );
                self.keep_log(
                    &format!("{}/{}/{number}", build.id, task.id),
                    &[text.as_bytes(), b"the end\n"],
                )
                .await;
            }
        }
    }

    pub async fn keep_push(&self, record: &PushRecord) {
        let announced = &record.announced;
        let kept = record.write(Expect::Absent).unwrap();
        self.store.save(kept.into()).await.unwrap();
        let Announced {
            package: name,
            clone_url,
            received: registered,
            ..
        } = announced.clone();
        let package = Package::new(name, clone_url, Vec::new(), registered);
        // A package that was pushed to before is registered already.
        let _ = put(
            &self.store,
            Table::Package,
            package.name.as_str(),
            Expect::Absent,
            &package,
            Vec::new(),
        )
        .await;
    }

    /// A record becomes one that cannot be read, and is found as before.
    pub async fn spoil(&self, table: Table, id: &str, index_entries: Vec<IndexEntry>) {
        let key = Key::new(table, id);
        let expect = self
            .store
            .load(&key)
            .await
            .unwrap()
            .map_or(Expect::Absent, |record| Expect::Version(record.version));
        let spoilt = Write {
            key,
            expect,
            body: Some("\"secret\"".to_owned()),
            index_entries,
        };
        self.store.save(spoilt.into()).await.unwrap();
    }

    pub async fn keep_log(&self, id: &str, chunks: &[&[u8]]) {
        let mut index = LogIndex::default();
        for chunk in chunks {
            index.chunks.push(Chunk {
                size: chunk.len() as u64,
                digest: self.store.put(chunk.to_vec()).await.unwrap(),
            });
        }
        millrace_store::records::replace(&self.store, Table::Log, id, &index)
            .await
            .unwrap();
    }

    pub async fn append_to_log(&self, id: &str, bytes: &[u8]) {
        let (mut index, _): (LogIndex, _) =
            millrace_store::records::get(&self.store, Table::Log, id)
                .await
                .unwrap()
                .unwrap();
        let chunk = Chunk {
            size: bytes.len() as u64,
            digest: self.store.put(bytes.to_vec()).await.unwrap(),
        };
        assert!(index.append(index.size(), chunk).unwrap());
        millrace_store::records::replace(&self.store, Table::Log, id, &index)
            .await
            .unwrap();
    }
}

fn bytes_of(package: &str, artifact: &Artifact) -> Vec<u8> {
    let rpm = artifact.rpm.as_ref().unwrap();
    format!("{package} {} {}", artifact.name, rpm.arch)
        .repeat(900)
        .into_bytes()
}
