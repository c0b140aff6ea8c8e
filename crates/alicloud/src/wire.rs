//! One request and its answer, for callers that block and may be told to stop.

use std::time::Duration;

use kiln_clouds::transport::{Parcel, Transport};
use kiln_clouds::{CloudError, Config, Environment, Failure};
use kiln_http::Threads;
use reqwest::header::HeaderMap;

use crate::{AlicloudError, Result, Stop};

/// No answer is longer.
const LIMIT: usize = 8 << 20;
/// How often a waiting call looks whether it is to stop.
const GLANCE: Duration = Duration::from_millis(50);

/// The network.
#[derive(Debug)]
pub(crate) struct Wire {
    threads: Threads,
    transport: Transport,
    /// Endpoints, keys, proxies.
    pub(crate) environment: Environment,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Whether the request had been sent before, and its answer was lost.
    pub(crate) repeated: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Unheard {
    /// The caller wants to stop.
    Cancelled,
    /// The connection, and whether another try makes sense.
    Failed(Failure),
}

impl Wire {
    pub(crate) fn new(config: Config) -> Result<Wire> {
        let environment = config.environment.clone();
        let threads = Threads::start("kiln-alicloud").map_err(|e| CloudError::Setup(e.to_string()))?;
        Ok(Wire { threads, transport: Transport::new(config)?, environment })
    }

    /// Sends a request. After the caller wants to stop, an answer is still waited for as long as `grace`: what a call
    /// creates has an id then.
    pub(crate) fn ask(&self, parcel: Parcel<'_>, stop: Stop<'_>, grace: Duration) -> Result<Heard, Unheard> {
        let what = parcel.what;
        let answer = async {
            let response = self.transport.send(parcel).await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let body = self.transport.body(response, LIMIT, what).await?;
            Ok::<Heard, Failure>(Heard { status, headers, body, repeated: false })
        };
        let work = async {
            tokio::select! {
                biased;
                answer = answer => answer.map_err(Unheard::Failed),
                () = stopped(stop, grace) => Err(Unheard::Cancelled),
            }
        };
        self.threads.block_on(work).unwrap_or(Err(Unheard::Cancelled))
    }
}

async fn stopped(stop: Stop<'_>, grace: Duration) {
    while !stop() {
        tokio::time::sleep(GLANCE).await;
    }
    tokio::time::sleep(grace).await;
}

impl From<Unheard> for kiln_http::Failure<AlicloudError> {
    fn from(unheard: Unheard) -> Self {
        match unheard {
            Unheard::Cancelled => AlicloudError::Cancelled.into(),
            Unheard::Failed(failure) => Self { error: failure.error.into(), again: failure.again },
        }
    }
}

impl From<Unheard> for AlicloudError {
    fn from(unheard: Unheard) -> Self {
        match unheard {
            Unheard::Cancelled => AlicloudError::Cancelled,
            Unheard::Failed(failure) => failure.error.into(),
        }
    }
}
