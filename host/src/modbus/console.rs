//! A device that a person looks at: one connection, no schedule.

use bessai_domain::event::Frame;
use bessai_domain::plan::{Plan, Request};
use bessai_domain::profile::Point;
use bessai_domain::register::{Table, UnitId};
use bessai_domain::sunspec::Found;

use super::Settings;
use super::connection::{Call, Connection, Trouble};
use super::discovery::{NotFound, discover};
use super::link::{Answer, Refusal};
use super::transport::Address;
use super::write::{self, Written};

/// A connection to a device and how it is asked.
pub struct Console {
    connection: Connection,
    settings: Settings,
}

impl Console {
    /// Nothing is opened yet.
    pub fn new(address: Address, settings: Settings) -> Self {
        let connection = Connection::new(address, [settings.pacing].into_iter());
        Self { connection, settings }
    }

    /// What lies in a table, register by register, or bit by bit as 0 and 1: in as many requests as it takes.
    ///
    /// # Errors
    /// In words, when the device refuses a part or does not answer.
    pub async fn raw(&mut self, table: Table, start: u16, count: u16) -> Result<Vec<u16>, String> {
        let limit = if table.is_bits() { self.settings.blocks.bits } else { self.settings.blocks.registers };
        let mut words: Vec<u16> = Vec::new();
        let (mut next, end) = (u32::from(start), u32::from(start) + u32::from(count));
        while next < end {
            let part = u16::try_from(end - next).unwrap_or(limit).min(limit);
            let from = u16::try_from(next).map_err(|_| "a table ends at address 65535".to_owned())?;
            let request = Request::of(self.settings.unit, table, from, part);
            match self.ask(&request).await? {
                Answer::Registers(read) => words.extend(read),
                Answer::Refused(_, reason) => {
                    return Err(format!("the device refuses to read {} {from}+{part}: {reason}", table.name()));
                }
                Answer::Written => return Err("a reply to a write".into()),
            }
            next += u32::from(part);
        }
        Ok(words)
    }

    /// One reading of points, by position. What the device refuses is missing.
    ///
    /// # Errors
    /// In words, when it does not answer.
    pub async fn points<'a>(&mut self, points: impl Iterator<Item = &'a Point>) -> Result<Frame, String> {
        let mut plan = Plan::new(points, self.settings.unit, self.settings.blocks);
        let (mut cycle, mut reading) = (plan.cycle(), plan.reading());
        while let Some(request) = cycle.request(&plan) {
            match self.ask(&request).await? {
                Answer::Registers(registers) => cycle.given(&mut plan, &request, &registers, &mut reading),
                Answer::Refused(Refusal::Block, _) => drop(cycle.refused(&mut plan)),
                Answer::Refused(Refusal::Function, _) => drop(cycle.refused_wholly(&mut plan)),
                Answer::Refused(..) | Answer::Written => cycle.pass(),
            }
        }
        Ok(plan.finish(reading, 0))
    }

    /// What a SunSpec device has.
    ///
    /// # Errors
    /// In words, when it is none or does not answer.
    pub async fn scan(&mut self) -> Result<Found, String> {
        let Settings { unit, blocks, timeout, .. } = self.settings;
        let found = discover(&mut self.connection, unit, blocks.registers, timeout).await;
        found.map_err(|error| match error {
            NotFound::Trouble(trouble) => trouble.reason().to_owned(),
            NotFound::Undescribed(reason) => reason,
        })
    }

    /// Whether somebody answers to a unit id, be it with a refusal.
    pub async fn answers(&mut self, unit: UnitId) -> Result<bool, String> {
        let request = Request::of(unit, Table::Holding, 0, 1);
        match self.connection.ask(Call::Read(&request), self.settings.timeout).await {
            Ok(Answer::Refused(Refusal::Unreachable, _)) => Ok(false),
            Ok(_) => Ok(true),
            Err(Trouble::NoConnection(reason)) => Err(reason),
            Err(_) => {
                // Most unit ids are nobody's: the next one need not wait as after a connection that failed.
                if !self.connection.is_open() {
                    self.connection =
                        Connection::new(self.connection.address().clone(), [self.settings.pacing].into_iter());
                }
                Ok(false)
            }
        }
    }

    /// Sets a point to a value in its unit and reads it back.
    ///
    /// # Errors
    /// In words, when the value does not fit, the device refuses or does not answer.
    pub async fn write(&mut self, point: &Point, value: f64) -> Result<Written, String> {
        write::write(&mut self.connection, point, self.settings.unit, self.settings.timeout, value).await
    }

    async fn ask(&mut self, request: &Request) -> Result<Answer, String> {
        let answer = self.connection.ask(Call::Read(request), self.settings.timeout).await;
        answer.map_err(|trouble| trouble.reason().to_owned())
    }
}
