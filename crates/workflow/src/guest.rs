//! A machine that joins a deployment's transfer because it has what is to be read: it is the source gateway, connects
//! to the others and is connected to by nobody, and takes the steps that look at the source. While it is away, the
//! transfer waits.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use skyhaul_engine::Limits;
use skyhaul_gateway::config::{Config, TableConfig};
use skyhaul_gateway::host::{Post, host};
use skyhaul_gateway::orders::Orders;
use skyhaul_gateway::run;
use skyhaul_gateway::world::{Real, Tcp, World};
use skyhaul_model::machine::IntentId;
use skyhaul_model::spec::Endpoint;
use skyhaul_model::{Error, ErrorKind, Result, Scheme, Side, TransferId};
use skyhaul_state::Phase;
use skyhaul_state::control::{DataplaneStatus, Failure};
use skyhaul_stores::Store;
use skyhaul_stores::open::{Ambient, Opens, Use};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::account::Account;
use crate::deployed::Deployed;
use crate::drive;
use crate::machines::{GUEST, Regions, Vault, guest_name, is_guest};
use crate::settings::Settings;
use crate::steps::{self, Answer, Attempt, Waiting};

/// Between two looks at what there is to do.
const LOOK: Duration = Duration::from_secs(1);

/// How long one step is taken before it is looked whether the attempt goes on.
const SLICE: Duration = Duration::from_mins(10);

/// How long a lease of its steps lasts without a sign of life.
const TERM: Duration = Duration::from_mins(1);

/// See the module documentation.
pub struct Guest {
    account: Account,
    deployed: Deployed,
    address: IpAddr,
}

/// Opens what a transfer names with the credentials that the deployment is reached with.
#[derive(Debug)]
struct As(Option<String>);

#[async_trait]
impl Opens for As {
    async fn open(&self, endpoint: &Endpoint, side: Side, with: Use) -> Result<Arc<dyn Store>> {
        let mut endpoint = endpoint.clone();
        let connection = &mut endpoint.connection;
        if endpoint.location.scheme == Scheme::S3 && !connection.no_sign_request {
            connection.profile = connection.profile.take().or_else(|| self.0.clone());
        }
        Ambient.open(&endpoint, side, with).await
    }
}

/// What only functions of the deployment do.
#[derive(Debug)]
struct NotHere;

impl NotHere {
    fn error() -> Error {
        let message = "a machine that joins a transfer does not do this";
        Error::control(ErrorKind::Internal, message)
    }
}

#[async_trait]
impl Vault for NotHere {
    async fn wrap(&self, _: &TransferId, _: &[u8]) -> Result<Bytes> {
        Err(Self::error())
    }

    async fn unwrap(&self, _: &TransferId, _: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        Err(Self::error())
    }
}

#[async_trait]
impl Waiting for NotHere {
    async fn answer(&self, _: &str, _: &Answer) -> Result<bool> {
        Err(Self::error())
    }
}

impl Guest {
    /// One that others see at `address`.
    #[must_use]
    pub fn new(deployed: &Deployed, address: IpAddr, settings: &Settings) -> Self {
        let limits = Limits {
            term: Some(TERM),
            ..drive::limits(settings, true)
        };
        let staging = deployed.staging.clone();
        let account = Account {
            region: GUEST.to_owned(),
            state: Arc::clone(&deployed.state),
            table: TableConfig {
                name: String::new(),
                region: None,
                endpoint_url: None,
            },
            control: Arc::clone(&deployed.control),
            opens: Arc::new(As(staging.connection.profile.clone())),
            staging,
            regions: Regions::default(),
            zones: BTreeMap::new(),
            port: None,
            boot: Box::new(|_, _| String::new()),
            vault: Arc::new(NotHere),
            waiting: Arc::new(NotHere),
            is_guest: true,
            limits,
        };
        Self {
            account,
            deployed: deployed.clone(),
            address,
        }
    }

    /// Works for an attempt until that is over. Fails with `Interrupted` when this machine is to leave, and with
    /// `LeaseLost` if another process has joined in its place.
    pub async fn join(&self, attempt: &Attempt, cancel: &CancellationToken) -> Result<()> {
        let (orders, left) = (Orders::default(), CancellationToken::new());
        let steps = async {
            let taken = tokio::select! {
                taken = self.steps(attempt) => taken,
                () = left.cancelled() => Ok(()),
                () = cancel.cancelled() => Err(leaves(attempt)),
            };
            orders.stop.cancel();
            taken
        };
        let gateway = async {
            let ended = self.gateway(attempt, &orders).await;
            if ended.is_err() {
                left.cancel();
            }
            ended
        };
        let (taken, ended) = tokio::join!(steps, gateway);
        ended.and(taken)
    }

    /// Is the source gateway of an attempt, until it is dismissed or told to end.
    async fn gateway(&self, attempt: &Attempt, orders: &Orders) -> Result<()> {
        let Some(intent) = orders.stop.run_until_cancelled(self.intent(attempt)).await else {
            return Ok(());
        };
        let intent = intent?;
        let post = Post {
            control: Arc::clone(&self.account.control),
            machine: guest_name(&intent).0,
            intent,
            address: Some(self.address),
        };
        let segments = self.deployed.segments(&attempt.transfer).await?;
        let world = World {
            state: Arc::clone(&self.account.state),
            segments: Some(segments),
            stores: Arc::new(Real),
            network: Tcp,
        };
        let limits = self.account.limits.clone();
        let work = move |config: Config, orders: Orders| {
            let mut config = Config {
                // Nobody takes this machine away.
                notices: None,
                ..config
            };
            config.limits.transfers = limits.transfers;
            config.limits.max_memory = limits.max_memory;
            run::run_in(world.clone(), config, orders)
        };
        host(&post, orders, work).await
    }

    /// What this machine is to be, once that is planned.
    async fn intent(&self, attempt: &Attempt) -> Result<IntentId> {
        loop {
            match self.planned(attempt).await {
                Ok(Some(intent)) => return Ok(intent),
                Err(error) if !error.retryable => return Err(error),
                Err(error) => tracing::warn!("what this machine is to do is not known: {error}"),
                Ok(None) => {}
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn planned(&self, attempt: &Attempt) -> Result<Option<IntentId>> {
        let control = &self.account.control;
        let submission = control.submission(&attempt.transfer).await?;
        let submission = submission.filter(|found| found.attempt == attempt.attempt);
        let Some(id) = submission.and_then(|found| found.dataplane) else {
            return Ok(None);
        };
        let row = control.dataplane(&id).await?;
        let Some(row) = row.filter(|row| row.status == DataplaneStatus::Active) else {
            return Ok(None);
        };
        let mut members = row.members.iter();
        let guest = members.find(|member| is_guest(member) && member.machine.is_some());
        Ok(guest.map(|member| member.intent(&id)))
    }

    /// Takes the steps that look at the source, until the attempt is over.
    async fn steps(&self, attempt: &Attempt) -> Result<()> {
        let (account, mut listed) = (&self.account, false);
        loop {
            match attempt.goes_on(&*account.control).await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) if error.retryable => {
                    tracing::warn!("whether the transfer goes on is not known: {error}");
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
                Err(error) => return Err(error),
            }
            match self.step(attempt, &mut listed).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                // It is over, or about to be.
                Err(error)
                    if matches!(error.kind, ErrorKind::Interrupted | ErrorKind::LeaseLost) =>
                {
                    tracing::debug!("a step was not taken: {error}");
                }
                Err(error) if error.retryable => tracing::warn!("a step is taken again: {error}"),
                Err(error) => {
                    tracing::error!("{error}");
                    let failure = Failure {
                        name: error.kind.name().to_owned(),
                        cause: error.to_string(),
                    };
                    return match attempt.fail(account, failure).await {
                        // It is over already.
                        Err(error) if error.kind == ErrorKind::LeaseLost => Ok(()),
                        noted => noted,
                    };
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// One slice of what is to be done next. Whether the transfer has ended. `listed`: whether all is known to be listed,
    /// and the progress, which is many rows, need not be read again.
    async fn step(&self, attempt: &Attempt, listed: &mut bool) -> Result<bool> {
        let (account, until) = (&self.account, Instant::now() + SLICE);
        let row = match account.state.transfer(&attempt.transfer).await {
            Ok(row) if row.attempt == attempt.attempt => row,
            // It is not planned yet.
            Ok(_) => return Ok(false),
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        match row.phase {
            Phase::Copy => {
                if !*listed {
                    *listed = account.state.progress(&row.id).await?.listing_done;
                }
                if !*listed {
                    steps::list(account, attempt, until).await?;
                }
            }
            // Functions do that.
            Phase::Complete => {}
            Phase::Delete => {
                steps::complete(account, attempt, until).await?;
            }
            Phase::Verify | Phase::Report => {
                steps::verify(account, attempt, until).await?;
            }
            Phase::Ended => return Ok(true),
        }
        Ok(false)
    }
}

fn leaves(attempt: &Attempt) -> Error {
    let message = "the transfer waits until this machine, which has its source, joins again";
    Error::control(ErrorKind::Interrupted, message)
        .object(attempt.transfer.as_str())
        .hint(format!("`skyhaul resume {}` joins again", attempt.transfer))
}
