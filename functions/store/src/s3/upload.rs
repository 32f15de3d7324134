//! Uploads: in one piece, or in several that count only when all are there.

use super::{S3, key, status, trouble};
use crate::blob::BlobError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use aws_smithy_types::base64;
use bytes::Bytes;
use millrace_core::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// What goes up in one piece, in bytes, and is in memory for that: most packages. A function has 128 MiB or more.
pub(super) const WHOLE_MAX: u64 = 8 << 20;

/// Bytes read from a file at a time on the way to their digest.
const PIECE_BYTES: usize = 1 << 20;

/// Most parts of an object (Amazon S3 User Guide, "Multipart upload limits").
const PARTS_MAX: u64 = 10_000;

/// Times that an upload is tried which met another one of the same object.
const CROSSINGS_MAX: usize = 5;

/// An upload in parts that has begun.
pub(super) struct Upload<'a> {
    store: &'a S3,
    digest: Digest,
    id: String,
    parts: Vec<CompletedPart>,
}

impl S3 {
    /// Puts a blob if it is not there yet. Anyone who puts it at the same time puts the same.
    pub(super) async fn upload_whole(
        &self,
        digest: &Digest,
        bytes: Vec<u8>,
    ) -> Result<(), BlobError> {
        let bytes = Bytes::from(bytes);
        let checksum = base64::encode(digest.as_bytes());
        let mut tries = 0;
        loop {
            let put = self
                .client
                .put_object()
                .bucket(&*self.bucket)
                .key(key(digest))
                .if_none_match("*");
            let put = put
                .checksum_sha256(&checksum)
                .body(ByteStream::from(bytes.clone()));
            match put.send().await {
                Ok(_) => return Ok(()),
                Err(error) if status(&error) == Some(412) => return Ok(()),
                Err(error) if status(&error) == Some(409) && tries < CROSSINGS_MAX => tries += 1,
                Err(error) => return Err(trouble(error)),
            }
        }
    }

    pub(super) async fn upload_file(&self, path: &Path) -> Result<(Digest, u64), BlobError> {
        let path = path.to_owned();
        let (file, digest, size) = blocking(move || hashed(&path)).await?;
        if size <= WHOLE_MAX {
            let bytes = piece(&file, 0..size).await?;
            // A file that somebody writes to at this moment has no digest that could be told.
            if Digest::of(&bytes) != digest {
                return Err(changed());
            }
            self.upload_whole(&digest, bytes).await?;
            return Ok((digest, size));
        }
        if self.size_of(&digest).await? == Some(size) {
            return Ok((digest, size));
        }
        let mut upload = self.begin(&digest).await?;
        match upload.all_of(&file, size).await {
            Ok(()) => upload.complete().await?,
            Err(error) => return upload.abort(error).await,
        }
        Ok((digest, size))
    }

    pub(super) async fn begin(&self, digest: &Digest) -> Result<Upload<'_>, BlobError> {
        let begun = self
            .client
            .create_multipart_upload()
            .bucket(&*self.bucket)
            .key(key(digest))
            .send()
            .await
            .map_err(trouble)?;
        let id = begun
            .upload_id
            .ok_or_else(|| io::Error::other("an upload without an id"))?;
        Ok(Upload {
            store: self,
            digest: *digest,
            id,
            parts: Vec::new(),
        })
    }
}

/// A file, its digest and its size.
fn hashed(path: &Path) -> io::Result<(Arc<File>, Digest, u64)> {
    let mut file = File::open(path)?;
    let (mut hash, mut size, mut piece) = (Sha256::new(), 0, vec![0; PIECE_BYTES]);
    loop {
        match file.read(&mut piece) {
            Ok(0) => {
                return Ok((
                    Arc::new(file),
                    Digest::from_bytes(hash.finalize().into()),
                    size,
                ));
            }
            Ok(read) => {
                hash.update(&piece[..read]);
                size += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn changed() -> BlobError {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the file changed while it was read",
    )
    .into()
}

async fn blocking<T: Send + 'static>(
    what: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(what)
        .await
        .map_err(io::Error::other)?
}

async fn piece(file: &Arc<File>, range: Range<u64>) -> io::Result<Vec<u8>> {
    let file = Arc::clone(file);
    blocking(move || {
        let mut bytes =
            vec![0; usize::try_from(range.end - range.start).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes)
    })
    .await
}

impl Upload<'_> {
    /// Number of the next part; they count from one.
    fn next(&self) -> i32 {
        i32::try_from(self.parts.len() + 1).unwrap_or(i32::MAX)
    }

    async fn all_of(&mut self, file: &Arc<File>, size: u64) -> Result<(), BlobError> {
        let (part, mut at, mut hash) = (WHOLE_MAX.max(size.div_ceil(PARTS_MAX)), 0, Sha256::new());
        while at < size {
            let to = at.saturating_add(part).min(size);
            let bytes = piece(file, at..to).await?;
            hash.update(&bytes);
            self.bytes(bytes).await?;
            at = to;
        }
        if Digest::from_bytes(hash.finalize().into()) == self.digest {
            Ok(())
        } else {
            Err(changed())
        }
    }

    pub(super) async fn bytes(&mut self, bytes: Vec<u8>) -> Result<(), BlobError> {
        let store = self.store;
        let part = store
            .client
            .upload_part()
            .bucket(&*store.bucket)
            .key(key(&self.digest))
            .upload_id(&self.id);
        let sent = part
            .part_number(self.next())
            .body(ByteStream::from(bytes))
            .send()
            .await
            .map_err(trouble)?;
        self.parts.push(
            CompletedPart::builder()
                .part_number(self.next())
                .set_e_tag(sent.e_tag)
                .build(),
        );
        Ok(())
    }

    /// A range of a blob as the next part, without its bytes coming here.
    pub(super) async fn copy(&mut self, of: &Digest, range: Range<u64>) -> Result<(), BlobError> {
        let store = self.store;
        let part = store
            .client
            .upload_part_copy()
            .bucket(&*store.bucket)
            .key(key(&self.digest))
            .upload_id(&self.id);
        let part = part.copy_source(format!("{}/{}", store.bucket, key(of)));
        let part = part.copy_source_range(format!("bytes={}-{}", range.start, range.end - 1));
        let copied = part
            .part_number(self.next())
            .send()
            .await
            .map_err(trouble)?;
        let tag = copied.copy_part_result.and_then(|result| result.e_tag);
        self.parts.push(
            CompletedPart::builder()
                .part_number(self.next())
                .set_e_tag(tag)
                .build(),
        );
        Ok(())
    }

    /// The blob is there from now on.
    pub(super) async fn complete(self) -> Result<(), BlobError> {
        let Self {
            store,
            digest,
            id,
            parts,
        } = &self;
        let all = CompletedMultipartUpload::builder()
            .set_parts(Some(parts.clone()))
            .build();
        let complete = store
            .client
            .complete_multipart_upload()
            .bucket(&*store.bucket)
            .key(key(digest))
            .upload_id(id);
        match complete
            .if_none_match("*")
            .multipart_upload(all)
            .send()
            .await
        {
            Ok(_) => Ok(()),
            // Somebody else was faster, with the same bytes.
            Err(error) if status(&error) == Some(412) => self.forget().await,
            Err(error) => {
                let error = trouble(error);
                // The answer to an earlier try may have been lost. A blob has its name when all of it is there, and not before.
                if store.size_of(digest).await.is_ok_and(|size| size.is_some()) {
                    Ok(())
                } else {
                    self.abort(error).await
                }
            }
        }
    }

    /// Nothing of it stays; parts without an object cost.
    pub(super) async fn abort<T>(self, because: BlobError) -> Result<T, BlobError> {
        // What cannot be removed now, the bucket's own rule removes in a day.
        let _ = self.forget().await;
        Err(because)
    }

    async fn forget(&self) -> Result<(), BlobError> {
        let Self {
            store, digest, id, ..
        } = self;
        let abort = store
            .client
            .abort_multipart_upload()
            .bucket(&*store.bucket)
            .key(key(digest))
            .upload_id(id);
        match abort.send().await {
            Ok(_) => Ok(()),
            Err(error) if status(&error) == Some(404) => Ok(()),
            Err(error) => Err(trouble(error)),
        }
    }
}
