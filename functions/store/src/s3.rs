//! Blobs and pointers in a bucket of S3, or of what speaks its protocol.
//!
//! A blob is the object `blobs/` and its digest. Every upload of one piece names the digest as `x-amz-checksum-sha256`, so what lies
//! there is what the name says (Amazon S3 User Guide, "Checking object integrity"). A pointer is the object `pointers/` and its
//! name, written under a condition on its ETag (same guide, "Conditional writes"). Its bytes begin with a number that grows, so
//! that the same bytes never have the same ETag again.

mod address;
mod compose;
mod pointer;
mod upload;

use crate::blob::{Address, BlobError, BlobStore, Part, PointerVersion, SwapError};
use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use millrace_core::Digest;
use sha2::{Digest as _, Sha256};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// Times that a download goes on from where it broke off.
const RESUMES_MAX: usize = 8;

/// One bucket. Clones share their connections.
#[derive(Debug, Clone)]
pub struct S3 {
    client: Client,
    bucket: Arc<str>,
}

impl S3 {
    /// The bucket of this name, which must be there. A bucket at an address of one's own is named in the path, since nobody has a
    /// domain name for each.
    pub fn open(config: &SdkConfig, bucket: &str) -> Self {
        let client = aws_sdk_s3::config::Builder::from(config)
            .force_path_style(config.endpoint_url().is_some())
            // Every upload has its own checksum, of which the others that the client could add know nothing more.
            .request_checksum_calculation(
                aws_sdk_s3::config::RequestChecksumCalculation::WhenRequired,
            )
            .response_checksum_validation(
                aws_sdk_s3::config::ResponseChecksumValidation::WhenRequired,
            )
            .build();
        Self {
            client: Client::from_conf(client),
            bucket: bucket.into(),
        }
    }

    async fn size_of(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        match self
            .client
            .head_object()
            .bucket(&*self.bucket)
            .key(key(digest))
            .send()
            .await
        {
            Ok(head) => Ok(Some(
                head.content_length
                    .and_then(|size| u64::try_from(size).ok())
                    .unwrap_or_default(),
            )),
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(trouble(error)),
        }
    }

    /// Size of a blob that must be there, and have this range.
    async fn size_with(&self, digest: &Digest, range: &Range<u64>) -> Result<u64, BlobError> {
        let size = self
            .size_of(digest)
            .await?
            .ok_or(BlobError::Missing(*digest))?;
        if range.start > range.end || range.end > size {
            return Err(BlobError::OutOfRange {
                digest: *digest,
                range: range.clone(),
                size,
            });
        }
        Ok(size)
    }

    /// A range that is not empty, as it begins to arrive.
    async fn get(&self, digest: &Digest, range: Range<u64>) -> Result<GetObjectOutput, BlobError> {
        let bytes = format!("bytes={}-{}", range.start, range.end - 1);
        match self
            .client
            .get_object()
            .bucket(&*self.bucket)
            .key(key(digest))
            .range(bytes)
            .send()
            .await
        {
            Ok(got) => Ok(got),
            Err(error) if status(&error) == Some(404) => Err(BlobError::Missing(*digest)),
            Err(error) if status(&error) == Some(416) => Err(match self.size_of(digest).await? {
                Some(size) => BlobError::OutOfRange {
                    digest: *digest,
                    range,
                    size,
                },
                None => BlobError::Missing(*digest),
            }),
            Err(error) => Err(trouble(error)),
        }
    }

    async fn write_into(
        &self,
        mut file: tokio::fs::File,
        digest: &Digest,
        size: u64,
    ) -> Result<(), BlobError> {
        let (mut hash, mut download) = (Sha256::new(), self.download(*digest, 0..size));
        while let Some(piece) = download.next().await? {
            hash.update(&piece);
            file.write_all(&piece).await?;
        }
        file.flush().await?;
        let found = Digest::from_bytes(hash.finalize().into());
        if found == *digest {
            Ok(())
        } else {
            Err(BlobError::Damaged {
                expected: *digest,
                found,
            })
        }
    }

    /// A range, piece by piece as it arrives.
    const fn download(&self, digest: Digest, range: Range<u64>) -> Download<'_> {
        Download {
            store: self,
            digest,
            at: range.start,
            end: range.end,
            body: None,
            resumes: 0,
        }
    }
}

/// A range on its way here. One that breaks off goes on from there.
struct Download<'a> {
    store: &'a S3,
    digest: Digest,
    at: u64,
    end: u64,
    body: Option<ByteStream>,
    resumes: usize,
}

impl Download<'_> {
    /// The next bytes; none at the end of the range.
    async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        while self.at < self.end {
            let body = match &mut self.body {
                Some(body) => body,
                None => self
                    .body
                    .insert(self.store.get(&self.digest, self.at..self.end).await?.body),
            };
            match body.try_next().await {
                Ok(Some(piece)) => {
                    self.at += piece.len() as u64;
                    return Ok(Some(piece));
                }
                Err(error) if self.resumes == RESUMES_MAX => {
                    return Err(io::Error::other(error).into());
                }
                Ok(None) if self.resumes == RESUMES_MAX => {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                Ok(None) | Err(_) => {
                    self.body = None;
                    self.resumes += 1;
                }
            }
        }
        Ok(None)
    }
}

/// Where a blob lies. Nothing in it needs to be written otherwise in an address.
fn key(digest: &Digest) -> String {
    format!("blobs/{}", digest.hex())
}

/// The status of the service's answer, if there was one.
fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error
        .raw_response()
        .map(|response| response.status().as_u16())
}

/// Trouble of the service or on the way to it.
fn trouble<E>(error: SdkError<E, HttpResponse>) -> BlobError
where
    E: std::error::Error + Send + Sync + 'static,
{
    io::Error::other(error).into()
}

impl BlobStore for S3 {
    async fn put(&self, bytes: Vec<u8>) -> Result<Digest, BlobError> {
        let digest = Digest::of(&bytes);
        self.upload_whole(&digest, bytes).await?;
        Ok(digest)
    }

    async fn put_file(&self, path: &Path) -> Result<(Digest, u64), BlobError> {
        self.upload_file(path).await
    }

    async fn compose(&self, parts: &[Part]) -> Result<(Digest, u64), BlobError> {
        self.put_together(parts).await
    }

    async fn size(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        self.size_of(digest).await
    }

    async fn read(&self, digest: &Digest, range: Range<u64>) -> Result<Vec<u8>, BlobError> {
        // Of an empty range, and of one that ends too late, the service answers something else than an error.
        if range.start >= range.end {
            self.size_with(digest, &range).await?;
            return Ok(Vec::new());
        }
        let got = self.get(digest, range.clone()).await?;
        let wanted = range.end - range.start;
        if got
            .content_length
            .and_then(|length| u64::try_from(length).ok())
            != Some(wanted)
        {
            self.size_with(digest, &range).await?;
        }
        let mut bytes = Vec::with_capacity(usize::try_from(wanted).unwrap_or_default());
        let mut download = Download {
            body: Some(got.body),
            ..self.download(*digest, range)
        };
        while let Some(piece) = download.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    async fn fetch(&self, digest: &Digest, to: &Path) -> Result<(), BlobError> {
        let size = self
            .size_of(digest)
            .await?
            .ok_or(BlobError::Missing(*digest))?;
        let file = tokio::fs::File::create_new(to).await?;
        let written = self.write_into(file, digest, size).await;
        if written.is_err() {
            // Nobody may take it for the blob.
            tokio::fs::remove_file(to).await?;
        }
        written
    }

    async fn read_address(
        &self,
        digest: &Digest,
        valid: Duration,
        name: Option<&str>,
    ) -> Result<Option<Address>, BlobError> {
        self.address_to_read(digest, valid, name).await.map(Some)
    }

    async fn write_address(
        &self,
        digest: &Digest,
        size: u64,
        valid: Duration,
    ) -> Result<Option<Address>, BlobError> {
        self.address_to_write(digest, size, valid).await.map(Some)
    }

    async fn pointer(&self, name: &str) -> Result<Option<(Vec<u8>, PointerVersion)>, BlobError> {
        self.read_pointer(name).await
    }

    async fn swap(
        &self,
        name: &str,
        expected: Option<&PointerVersion>,
        bytes: Vec<u8>,
    ) -> Result<PointerVersion, SwapError> {
        self.swap_pointer(name, expected, &bytes).await
    }
}
