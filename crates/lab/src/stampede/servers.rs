//! The servers of one strategy, with a separate place in the engines.

use std::path::Path;

use tempfile::TempDir;

use super::child::{ChildSettings, GREETING};
use super::options::Options;
use crate::coupon::{TABLES, UNIQUE_CLAIMS, firstcome, firstcome_scaled};
use crate::frame::about::{About, Fault, FaultKind};
use crate::frame::engines::{Place, Places};
use crate::frame::error::LabError;
use crate::frame::process::{Launch, Server};
use crate::frame::tools::FaultOrder;
use crate::frame::{kafka, ports};

/// The line that Firstcome prints once it is ready.
const FIRSTCOME_GREETING: &str = "Firstcome serves at";
pub(crate) const CAMPAIGN: &str = "lab";

/// The running servers of a strategy.
pub(crate) struct Servers {
    pub(crate) running: Vec<Server>,
    _folder: Option<TempDir>,
}

impl Servers {
    /// Starts the servers; one of them injects `fault` into itself, if that is its kind.
    pub(crate) async fn start(options: &Options, places: &Places, about: &About, fault: Option<&Fault>) -> Result<Self, LabError> {
        let is_firstcome = [firstcome::ABOUT.name, firstcome_scaled::ABOUT.name].contains(&about.name);
        let unique = if about.has_unique_claims { UNIQUE_CLAIMS } else { "" };
        let tables = if is_firstcome { String::new() } else { format!("{TABLES}{unique}") };
        let place = places.make(&options.engines, about, &tables).await?;
        match is_firstcome {
            true => Self::firstcome(options, about, &place).await,
            false => Self::strategy(options, about, &place, fault).await,
        }
    }

    async fn strategy(options: &Options, about: &About, place: &Place, fault: Option<&Fault>) -> Result<Self, LabError> {
        if let Some(hosts) = &place.kafka {
            kafka::create(hosts, &place.name).await?;
        }
        // While one server is suspended, a second one must continue.
        let count = if fault.is_some_and(|fault| fault.kind == FaultKind::Pause) { 2 } else { 1 };
        let mut running = Vec::new();
        for number in 0..count {
            let settings = ChildSettings {
                strategy: about.name.to_owned(),
                port: ports::free()?,
                postgres: place.postgres.clone(),
                redis: place.redis.clone(),
                kafka: place.kafka.clone(),
                place: place.name.clone(),
                fault: fault.filter(|_| number == 0).map(order),
            };
            running.push(launch_strategy(options, &settings).start().await?);
        }
        Ok(Self { running, _folder: None })
    }

    async fn firstcome(options: &Options, about: &About, place: &Place) -> Result<Self, LabError> {
        let folder = tempfile::Builder::new().prefix("firstcome-lab-").tempdir().map_err(|error| LabError::other("no folder")(&error))?;
        let count = if about.name == firstcome_scaled::ABOUT.name { 2 } else { 1 };
        let brokers = match &place.kafka {
            Some(hosts) => kafka::brokers(hosts).await?,
            None => 0,
        };
        let mut running = Vec::new();
        for _ in 0..count {
            running.push(launch_firstcome(options, place, folder.path(), brokers)?.start().await?);
        }
        Ok(Self { running, _folder: Some(folder) })
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.running.iter().map(Server::url).collect()
    }

    pub(crate) fn ports(&self) -> Vec<u16> {
        self.running.iter().map(|server| server.launch.port).collect()
    }

    /// Restarts a server on its port, without the fault.
    pub(crate) async fn restart(&mut self, number: usize) -> Result<(), LabError> {
        let Some(server) = self.running.get_mut(number) else { return Ok(()) };
        server.kill().await;
        let mut launch = server.launch.clone();
        if let Some(input) = &launch.input {
            let Ok(settings) = serde_json::from_str::<ChildSettings>(input) else { panic!("this program wrote these settings: {input}") };
            launch.input = Some(json(&ChildSettings { fault: None, ..settings }));
        }
        *server = launch.start().await?;
        Ok(())
    }

    /// Stops the servers; the creator of their place removes it.
    pub(crate) async fn end(self) {
        for server in self.running {
            server.stop().await;
        }
    }
}

/// A point in the middle of the small stock of a run with a fault.
fn order(fault: &Fault) -> FaultOrder {
    FaultOrder { at: fault.at.to_owned(), count: u64::from(super::harm::STOCK / 2), is_pause: fault.kind == FaultKind::Pause }
}

fn launch_strategy(options: &Options, settings: &ChildSettings) -> Launch {
    Launch {
        strategy: settings.strategy.clone(),
        program: options.programs.strategy.clone(),
        arguments: Vec::new(),
        environment: Vec::new(),
        input: Some(json(settings)),
        greeting: GREETING,
        port: settings.port,
    }
}

fn json(settings: &ChildSettings) -> String {
    serde_json::to_string(settings).unwrap_or_else(|error| panic!("plain fields are always JSON: {error}"))
}

fn launch_firstcome(options: &Options, place: &Place, folder: &Path, brokers: usize) -> Result<Launch, LabError> {
    let port = ports::free()?;
    let mut arguments: Vec<_> = ["serve", "--log", "warn", "--end-with-parent", "--listen"].into_iter().map(Into::into).collect();
    arguments.push(format!("127.0.0.1:{port}").into());
    arguments.extend(["--data".into(), folder.join("data").into_os_string()]);
    let mut environment = Vec::new();
    if let (Some(postgres), Some(kafka)) = (&place.postgres, &place.kafka) {
        arguments.extend(["--kafka-topic".into(), place.name.clone().into(), "--kafka".into(), kafka.into()]);
        if brokers < 3 {
            arguments.push("--kafka-dev".into());
        }
        environment.push(("FIRSTCOME_POSTGRES", postgres.clone()));
        environment.extend(place.redis.clone().map(|redis| ("FIRSTCOME_REDIS", redis)));
    }
    Ok(Launch {
        strategy: place.name.clone(),
        program: vec![options.programs.firstcome.clone().into_os_string()],
        arguments,
        environment,
        input: None,
        greeting: FIRSTCOME_GREETING,
        port,
    })
}
