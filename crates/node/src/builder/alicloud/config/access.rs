//! Whose account, and where it is reached.

use kiln_alicloud::Account;
use kiln_alicloud::credentials::Asked;
use kiln_http::Secret;
use kiln_packer::fields::Fields;

use super::text;
use crate::error::Result;

pub(super) fn account(f: &Fields<'_>) -> Result<Account> {
    let secret = |key: &str| -> Result<Option<Secret>> { Ok(text(f, key)?.map(Secret::new)) };
    let keys = Asked {
        access_key: text(f, "access_key")?,
        secret_key: secret("secret_key")?,
        security_token: secret("security_token")?,
        ram_role_name: text(f, "ram_role_name")?,
        ram_role_arn: text(f, "ram_role_arn")?,
        ram_session_name: text(f, "ram_session_name")?,
        profile: text(f, "profile")?,
        shared_credentials_file: text(f, "shared_credentials_file")?,
    };
    if keys.secret_key.is_some() && keys.access_key.is_none() {
        return Err(f.fault("secret_key", "NoKey", "a secret needs its access_key").into());
    }
    Ok(Account { region: text(f, "region")?, endpoint: text(f, "custom_endpoint_ecs")?, keys })
}
