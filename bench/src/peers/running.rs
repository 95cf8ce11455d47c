//! A system that has been started, until it is ended.
//!
//! Owns the order in which its processes are ended, and the sum of their CPU times. Leaves starting
//! to `programs`, the load to `wrk`, and each process to `crate::process`.

use anyhow::Result;

use super::ground::Ground;
use super::wrk::{self, Measured};
use crate::process::{Cpu, Process};

/// A running system.
#[derive(Debug)]
pub(crate) struct Running {
    /// In the order of their start.
    pub(crate) processes: Vec<Process>,
    pub(crate) port: u16,
    pub(crate) path: &'static str,
}

impl Running {
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}{}", self.port, self.path)
    }

    /// Loads the system for `seconds`; wrk's output is kept under `name`.
    pub(crate) async fn drive(
        &self,
        ground: &Ground,
        connections: u32,
        seconds: u32,
        name: &str,
    ) -> Result<Measured> {
        let raw = ground.runs.join(format!("{name}.txt"));
        wrk::run(&self.url(), connections, seconds, (name != "warm-up").then_some(raw.as_path())).await
    }

    /// User and system time of each process so far; processes of one name are added up.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        let mut cpu = Cpu::new();
        for process in &self.processes {
            *cpu.entry(process.name().to_owned()).or_default() += process.cpu()?;
        }
        Ok(cpu)
    }

    /// Ends the processes, the last started first.
    pub(crate) async fn stop(self) {
        for process in self.processes.into_iter().rev() {
            process.stop().await;
        }
    }
}
