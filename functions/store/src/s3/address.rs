//! Addresses under which others read and write blobs for a while, without credentials of their own (Amazon S3 User Guide,
//! "Download and upload objects with presigned URLs").

use super::{S3, key, trouble};
use crate::blob::{Address, BlobError, as_download};
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_smithy_types::base64;
use millrace_core::Digest;
use std::io;
use std::time::Duration;

/// Largest blob that goes up in one piece, in bytes (Amazon S3 User Guide, "Uploading objects").
const PUT_BYTES_MAX: u64 = 5 << 30;

fn valid_for(time: Duration) -> Result<PresigningConfig, BlobError> {
    Ok(PresigningConfig::expires_in(time).map_err(io::Error::other)?)
}

fn address(request: &PresignedRequest) -> Address {
    let headers = request
        .headers()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Address {
        url: request.uri().to_owned(),
        headers,
    }
}

impl S3 {
    pub(super) async fn address_to_read(
        &self,
        digest: &Digest,
        valid: Duration,
        name: Option<&str>,
    ) -> Result<Address, BlobError> {
        let get = self
            .client
            .get_object()
            .bucket(&*self.bucket)
            .key(key(digest))
            .set_response_content_disposition(name.map(as_download));
        Ok(address(
            &get.presigned(valid_for(valid)?).await.map_err(trouble)?,
        ))
    }

    /// Size and digest are signed with it: whatever else is sent there is refused by the service itself.
    pub(super) async fn address_to_write(
        &self,
        digest: &Digest,
        size: u64,
        valid: Duration,
    ) -> Result<Address, BlobError> {
        let length = i64::try_from(size).ok().filter(|_| size <= PUT_BYTES_MAX);
        let length = length.ok_or_else(|| {
            let problem = format!("{size} bytes in one piece, at most {PUT_BYTES_MAX} go");
            io::Error::new(io::ErrorKind::InvalidInput, problem)
        })?;
        let put = self
            .client
            .put_object()
            .bucket(&*self.bucket)
            .key(key(digest))
            .content_length(length);
        let put = put.checksum_sha256(base64::encode(digest.as_bytes()));
        Ok(address(
            &put.presigned(valid_for(valid)?).await.map_err(trouble)?,
        ))
    }
}
