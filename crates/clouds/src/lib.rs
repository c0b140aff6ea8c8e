//! What clients of the clouds' services share: who asks, how that is proved, and one exchange with one host.
//!
//! Credentials are looked for where the clouds' own tools look: variables, files, the token services, and what runs beside
//! a pod or machine. Everything a service says is hostile; credentials go to the services they are for, over TLS or to
//! this machine, and no redirect is followed.
//!
//! [`environ`] the variables that matter     [`credentials`] keys and tokens, and where they are found
//! [`sign`] how requests prove who asks      [`logins`] logins to the clouds' registries
//! [`transport`] one exchange                [`source`] what is uploaded
//! [`answer`] [`xml`] what services say      [`date`] [`percent`] as they write dates and addresses
//! [`uuid`] identifiers that nothing else has
//!
//! Adding a cloud: a finder in [`credentials`], its variables in [`environ`], its registry in [`logins`].
#![forbid(unsafe_code)]

pub mod answer;
pub mod config;
pub mod credentials;
pub mod date;
pub mod environ;
pub mod error;
pub mod logins;
pub mod percent;
pub mod sign;
pub mod source;
pub mod transport;
pub mod uuid;
pub mod xml;

pub use config::Config;
pub use environ::Environment;
pub use error::{CloudError, Failure};
pub use logins::{Helper, Login, Logins, Trouble};
