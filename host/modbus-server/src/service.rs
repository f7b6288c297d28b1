//! Answers one request: from the last readings if they are young enough, else by the device.

use bessai_domain::relay::{Exception, RelayError, RelayTarget};

use crate::counters::{ServerCounters, count};
use crate::frame::{HEADER_BYTES, RequestFrame, set_header};
use crate::pdu::{self, ModbusRequest};

/// Answers the requests of one client.
pub(crate) struct Service<'a, T> {
    pub(crate) target: &'a T,
    pub(crate) counters: &'a ServerCounters,
    /// The client in the log.
    pub(crate) client: &'a str,
    /// The values of a reply, kept to save an allocation for each request.
    pub(crate) words: Vec<u16>,
}

impl<T: RelayTarget> Service<'_, T> {
    /// Replaces `reply` by the reply to a request.
    pub(crate) async fn answer(&mut self, frame: &RequestFrame<'_>, reply: &mut Vec<u8>) {
        reply.clear();
        reply.extend([0; HEADER_BYTES]);
        let function = frame.pdu.first().copied().unwrap_or_default();
        let exception = match pdu::decode(frame.unit, frame.pdu) {
            Ok(request) => self.carry_out(&request, frame, reply).await.err().map(|error| {
                let (client, code) = (self.client, error.exception.0);
                tracing::debug!(%client, "{client}: exception {code} for function {function}: {}", error.reason);
                error.exception
            }),
            Err(exception) => Some(exception),
        };
        if let Some(exception) = exception {
            count(&self.counters.exceptions);
            pdu::push_exception(reply, function, exception);
        }
        set_header(reply, frame.transaction, frame.unit);
    }

    async fn carry_out(
        &mut self,
        request: &ModbusRequest,
        frame: &RequestFrame<'_>,
        reply: &mut Vec<u8>,
    ) -> Result<(), RelayError> {
        match request {
            ModbusRequest::Read(read) => {
                self.words.clear();
                if self.target.append_latest(read, &mut self.words) {
                    count(&self.counters.from_latest);
                    pdu::push_values(reply, read.table, &self.words);
                    return Ok(());
                }
                count(&self.counters.relayed);
                let words = self.target.read(read).await?;
                if words.len() != usize::from(read.count) {
                    let reason = format!("{} values instead of {}", words.len(), read.count);
                    return Err(RelayError::new(Exception::DEVICE_FAILURE, reason));
                }
                pdu::push_values(reply, read.table, &words);
            }
            ModbusRequest::Write(write) => {
                count(&self.counters.relayed);
                self.target.write(write.clone(), self.client).await?;
                pdu::push_confirmation(reply, frame.pdu);
            }
        }
        Ok(())
    }
}
