//! Buckets.

use reqwest::Method;

use super::Oss;
use super::request::{Ask, NAMES, document};
use crate::{AlicloudError, Result, Stop};

impl Oss<'_> {
    /// The region a bucket is in; `None` if there is no such bucket.
    ///
    /// # Errors
    /// Those of the request; that it is somebody else's.
    pub fn bucket(&self, bucket: &str, stop: Stop<'_>) -> Result<Option<String>> {
        checked(bucket)?;
        const WHAT: &str = "GetBucketInfo";
        let heard = match self.ask(&Ask::new(WHAT, Method::GET, bucket, "").query("bucketInfo", ""), stop) {
            Err(error) if error.is(&["NoSuchBucket"]) => return Ok(None),
            other => other?,
        };
        let document = document(&heard, WHAT)?;
        let place = document.child("Bucket").and_then(|bucket| bucket.text_of("Location")).unwrap_or_default();
        match place.strip_prefix("oss-").unwrap_or(place) {
            "" => Err(AlicloudError::Protocol { action: WHAT.to_owned(), why: "it has no Location".to_owned() }),
            region => Ok(Some(region.to_owned())),
        }
    }

    /// Makes a bucket that nobody else may read.
    ///
    /// # Errors
    /// Those of the request.
    pub fn create_bucket(&self, bucket: &str, stop: Stop<'_>) -> Result<()> {
        checked(bucket)?;
        let ask = Ask::new("PutBucket", Method::PUT, bucket, "").header("x-oss-acl", "private");
        match self.ask(&ask, stop) {
            Err(error) if error.refusal().is_some_and(|r| r.repeated && r.is(&["BucketAlreadyExists"])) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Deletes a bucket, if nothing is in it.
    ///
    /// # Errors
    /// Those of the request.
    pub fn delete_bucket(&self, bucket: &str, stop: Stop<'_>) -> Result<()> {
        self.ask(&Ask::new("DeleteBucket", Method::DELETE, bucket, ""), stop).map(drop)
    }

    /// Deletes an object; one that is not there is deleted.
    ///
    /// # Errors
    /// Those of the request.
    pub fn delete(&self, bucket: &str, key: &str, stop: Stop<'_>) -> Result<()> {
        self.ask(&Ask::new("DeleteObject", Method::DELETE, bucket, key), stop).map(drop)
    }
}

/// It becomes part of a host's name.
fn checked(bucket: &str) -> Result<()> {
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let edges = !bucket.starts_with('-') && !bucket.ends_with('-');
    match (3..=63).contains(&bucket.len()) && edges && bucket.bytes().all(fits) {
        true => Ok(()),
        false => {
            let what = format!("`{}` cannot be the name of a bucket", kiln_http::printable(bucket));
            Err(AlicloudError::setting(what, NAMES))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::checked;

    #[test]
    fn names_of_buckets() {
        for good in ["abc", "my-bucket-1"] {
            checked(good).unwrap();
        }
        for bad in ["ab", "-abc", "abc-", "a.evil", "ABC", "a/b/c", &"x".repeat(64)] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }
}
