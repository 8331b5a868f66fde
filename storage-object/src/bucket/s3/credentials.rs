//! Credentials in a file of profiles.

use super::classify::invalid;
use crate::bucket::StoreError;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// A profile of a file that is read again whenever it changes, so that credentials can be replaced while we run.
#[derive(Debug)]
pub(super) struct ProfileCredentials {
    file: PathBuf,
    profile: String,
    cached: Mutex<Option<(SystemTime, u64, Arc<AwsCredential>)>>,
}

impl ProfileCredentials {
    /// Reads the profile once, so that a mistake is found at start.
    pub(super) fn open(file: &Path, profile: &str) -> Result<Self, StoreError> {
        let this = Self {
            file: file.to_owned(),
            profile: profile.to_owned(),
            cached: Mutex::new(None),
        };
        this.read()?;
        Ok(this)
    }

    fn read(&self) -> Result<Arc<AwsCredential>, StoreError> {
        let at = self.file.display();
        let unreadable = |error| invalid(format!("tier credentials file {at}: {error}"));
        let meta = fs::metadata(&self.file).map_err(unreadable)?;
        let (modified, len) = (meta.modified().map_err(unreadable)?, meta.len());
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, bytes, credential)) = &*cached
            && (*at, *bytes) == (modified, len)
        {
            return Ok(Arc::clone(credential));
        }
        let text = fs::read_to_string(&self.file).map_err(unreadable)?;
        let credential = parse(&text, &self.profile).ok_or_else(|| {
            invalid(format!(
                "tier credentials file {at}: no keys in profile [{}]",
                self.profile
            ))
        })?;
        let credential = Arc::new(credential);
        *cached = Some((modified, len, Arc::clone(&credential)));
        Ok(credential)
    }
}

/// Finds the keys of one profile.
fn parse(text: &str, profile: &str) -> Option<AwsCredential> {
    let (mut key_id, mut secret_key, mut token) = (None, None, None);
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            let name = name.trim();
            inside = name == profile || name.strip_prefix("profile ").map(str::trim) == Some(profile);
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| inside) else {
            continue;
        };
        let value = Some(value.trim().to_owned());
        match key.trim() {
            "aws_access_key_id" => key_id = value,
            "aws_secret_access_key" => secret_key = value,
            "aws_session_token" => token = value,
            _ => {}
        }
    }
    Some(AwsCredential {
        key_id: key_id?,
        secret_key: secret_key?,
        token,
    })
}

#[async_trait::async_trait]
impl CredentialProvider for ProfileCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        self.read().map_err(|error| object_store::Error::Generic {
            store: "S3",
            source: Box::new(error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_found_among_others() {
        let text = "[default]\naws_access_key_id = a\naws_secret_access_key=b=\n\n# no\n[profile x]\n\
                    aws_access_key_id=c\naws_secret_access_key=d\naws_session_token = e\n[half]\naws_access_key_id=f\n";
        let keys = |profile| parse(text, profile).map(|found| (found.key_id, found.secret_key, found.token));
        assert_eq!(keys("default"), Some(("a".into(), "b=".into(), None)));
        assert_eq!(keys("x"), Some(("c".into(), "d".into(), Some("e".into()))));
        assert_eq!(keys("half"), None);
        assert_eq!(keys("other"), None);
    }
}
