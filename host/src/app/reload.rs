//! Reloads the settings while the gateway runs: applies what can be applied, names what needs a restart, and keeps everything
//! as it is if there is a mistake in the new settings.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bessai_domain::settings::Mistake;
use bessai_pipeline::{PipelineInput, Reconfiguration, Redescription};
use bessai_supervision::run_blocking;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::buses::Buses;
use super::control::Control;
use super::modbus_servers::ModbusServers;
use super::models::Models;
use super::site;
use crate::config::{Config, DeviceConfig, Plugins};
use crate::logging;
use crate::service_manager::ServiceManager;

/// Reads the configuration, which may take a while.
pub(crate) type ReadConfig = Arc<dyn Fn() -> Result<Config, Vec<Mistake>> + Send + Sync>;

/// Requests to reload the settings.
pub(crate) struct ReloadRequests {
    pub(crate) requests: mpsc::Receiver<()>,
    pub(crate) read: ReadConfig,
}

/// The last reload, as `/health` shows it.
#[derive(Default)]
pub(super) struct ReloadReport(Option<LastReload>);

struct LastReload {
    /// How many there have been since the start.
    count: u64,
    at: Instant,
    mistakes: usize,
    needs_restart: Vec<String>,
}

/// What a reload changes.
pub(super) struct Reloader {
    /// The settings in force.
    pub(super) config: Config,
    pub(super) buses: Rc<RefCell<Buses>>,
    pub(super) modbus_servers: Rc<RefCell<ModbusServers>>,
    pub(super) models: Rc<RefCell<Models>>,
    pub(super) control: Control,
    pub(super) inputs: mpsc::Sender<PipelineInput>,
    pub(super) plugins: watch::Sender<Arc<Plugins>>,
    pub(super) report: Rc<RefCell<ReloadReport>>,
    pub(super) service_manager: Arc<ServiceManager>,
}

impl ReloadReport {
    pub(super) fn json(&self) -> Value {
        let Some(last) = &self.0 else { return Value::Null };
        json!({
            "count": last.count,
            "age_s": last.at.elapsed().as_secs(),
            "applied": last.mistakes == 0,
            "mistakes": last.mistakes,
            "needs_restart": last.needs_restart,
        })
    }
}

impl Reloader {
    /// Handles requests; to be run as a task of the main loop.
    pub(super) async fn run(&mut self, reloads: &mut ReloadRequests) {
        while reloads.requests.recv().await.is_some() {
            self.service_manager.notify_reloading();
            let read = Arc::clone(&reloads.read);
            let outcome = run_blocking("reload of the settings", move || read()).await;
            let (mistakes, needs_restart) = match outcome {
                Ok(config) => (0, self.apply(config).await),
                Err(mistakes) => {
                    let count = mistakes.len();
                    mistakes.iter().for_each(|mistake| tracing::error!("reload: {mistake}"));
                    tracing::error!(
                        "the settings were not reloaded: {count} mistake(s); the previous ones stay in force"
                    );
                    (count, Vec::new())
                }
            };
            let mut report = self.report.borrow_mut();
            let count = report.0.as_ref().map_or(0, |last| last.count) + 1;
            report.0 = Some(LastReload { count, at: Instant::now(), mistakes, needs_restart });
            drop(report);
            self.service_manager.notify_ready();
        }
        // No more requests will come.
        std::future::pending().await
    }

    /// Returns the settings that have changed and need a restart.
    async fn apply(&mut self, new: Config) -> Vec<String> {
        for warning in new.warnings.iter().filter(|warning| !self.config.warnings.contains(warning)) {
            tracing::warn!("{warning}");
        }
        for note in &new.notes {
            tracing::info!("{note}");
        }
        let (new, needs_restart) = self.keep_what_needs_restart(new);
        for setting in &needs_restart {
            tracing::warn!("reload: {setting} has changed; restart the gateway to apply it");
        }
        if new.log_level != self.config.log_level {
            logging::set_level(new.log_level);
        }
        let replaced = replaced_devices(&self.config.devices, &new.devices);
        if new.control != self.config.control || new.devices != self.config.devices {
            // Before a device's connection ends that is no longer controlled, or that is another device from now on.
            let mut control = new.control.clone();
            if let Some(control) = &mut control {
                control.devices.retain(|name, _| !replaced.contains(&name.as_str()));
            }
            self.control.reconfigure(control, &new.devices).await;
        }
        if new.devices != self.config.devices {
            self.apply_devices(&new).await;
        } else if new.safety != self.config.safety {
            self.reconfigure(Reconfiguration { limits: new.safety.clone(), devices: None }).await;
        }
        if !replaced.is_empty() {
            self.control.reconfigure(new.control.clone(), &new.devices).await;
        }
        if new.devices != self.config.devices || new.modbus_servers != self.config.modbus_servers {
            self.apply_modbus_servers(&new).await;
        }
        if new.models != self.config.models
            && let Err(error) = self.models.borrow_mut().set(new.models.clone())
        {
            tracing::error!("reload: the models were not started: {error}");
        }
        let may_set = |name: &str| new.models.iter().any(|model| model.name == name && !model.shadow);
        for model in self.config.models.iter().filter(|model| !may_set(&model.name)) {
            self.control.end_model(&model.name);
        }
        if new.plugins != self.config.plugins {
            // The feeds are compared with their files: those that changed are replaced as by a new file.
            self.plugins.send_replace(new.plugins.clone());
        }
        self.config = new;
        tracing::info!("the settings were reloaded");
        needs_restart
    }

    /// Changed connections end before the new description, so that no frame refers to the wrong one, and begin after it.
    async fn apply_devices(&mut self, new: &Config) {
        let ending = self.buses.borrow_mut().take_changed(&new.devices);
        for task in ending {
            task.abort();
            // Returns once its connection is closed; a serial port can be opened only once.
            let _ = task.await;
        }
        let config = new.clone();
        let redescription = Redescription {
            describe: Box::new(move |in_force| site::describe(&config, Some(in_force))),
            report_filters: site::report_filters(&new.devices),
            reports: site::reports(&new.devices),
        };
        self.reconfigure(Reconfiguration { limits: new.safety.clone(), devices: Some(redescription) }).await;
        self.buses.borrow_mut().start(&new.devices);
    }

    /// Clients of servers that stay the same stay connected.
    async fn apply_modbus_servers(&self, new: &Config) {
        let ending = self.modbus_servers.borrow_mut().take_changed(&new.modbus_servers);
        for task in ending {
            task.abort();
            // Returns once the port is free.
            let _ = task.await;
        }
        self.modbus_servers.borrow_mut().start(&new.modbus_servers, &new.devices, &self.buses.borrow());
    }

    async fn reconfigure(&self, reconfiguration: Reconfiguration) {
        // Fails only when the gateway is stopping.
        let _ = self.inputs.send(PipelineInput::Reconfigured(Box::new(reconfiguration))).await;
    }

    /// Restores the settings in force that only a restart changes, and returns those that differ.
    fn keep_what_needs_restart(&self, mut new: Config) -> (Config, Vec<String>) {
        let old = &self.config;
        let mut changed = Vec::new();
        let mut keep = |name: &str, differs: bool| {
            if differs {
                changed.push(name.to_owned());
            }
        };
        keep("SITE_ID", new.site != old.site);
        keep("BESSAI_DATA", new.data_dir != old.data_dir || new.cache_dir != old.cache_dir);
        keep("[journal]", new.journal != old.journal);
        keep("HEALTH_HOST or HEALTH_PORT", new.health != old.health);
        keep("[watchdog]", new.abort_after != old.abort_after);
        keep("BESSAI_PLUGINS or [plugins] dir", new.plugins.dir != old.plugins.dir);
        let limits = |plugins: &Plugins| (plugins.compile_memory_bytes, plugins.compile_time);
        keep("[plugins] compile_memory or compile_time", limits(&new.plugins) != limits(&old.plugins));
        new.site.clone_from(&old.site);
        (new.data_dir, new.cache_dir) = (old.data_dir.clone(), old.cache_dir.clone());
        (new.journal, new.health) = (old.journal.clone(), old.health);
        new.abort_after = old.abort_after;
        let plugins = Arc::make_mut(&mut new.plugins);
        plugins.dir.clone_from(&old.plugins.dir);
        (plugins.compile_memory_bytes, plugins.compile_time) = limits(&old.plugins);
        (new, changed)
    }
}

/// The names that stand for another device than before: what was written to the old one is not in the new one.
fn replaced_devices<'a>(old: &[DeviceConfig], new: &'a [DeviceConfig]) -> Vec<&'a str> {
    let is_another = |new: &&DeviceConfig| {
        old.iter().any(|old| old.name == new.name && (&old.address, old.unit) != (&new.address, new.unit))
    };
    new.iter().filter(is_another).map(|device| device.name.as_str()).collect()
}
