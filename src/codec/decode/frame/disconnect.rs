//! DISCONNECT and AUTH.

use super::{PacketFrame, reason, refused};
use crate::codec::error::DecodeError;
use crate::codec::packet::{Auth, Disconnect};
use crate::codec::property::{Property, carrier, read_block};
use crate::codec::reason::{Reason, carrier as reason_carrier};
use crate::codec::wire::FieldReader;
use crate::codec::words::Sender;

impl PacketFrame<'_> {
    pub(super) fn disconnect<'a>(
        &self,
        reader: &mut FieldReader<'a>,
    ) -> Result<Disconnect<'a>, DecodeError> {
        let mut disconnect = Disconnect::default();
        if !self.v5 || reader.is_empty() {
            return Ok(disconnect);
        }
        let packets = match self.sender {
            Sender::Client => reason_carrier::DISCONNECT_CLIENT,
            Sender::Server => reason_carrier::DISCONNECT_SERVER,
        };
        disconnect.reason = reason(reader, packets)?;
        if reader.is_empty() {
            return Ok(disconnect);
        }
        let block =
            read_block(
                reader,
                carrier::DISCONNECT,
                self.limits,
                |property, value| match property {
                    Property::SessionExpiryInterval => {
                        disconnect.session_expiry = Some(value.number())
                    }
                    Property::ReasonString => disconnect.reason_string = value.text(),
                    Property::ServerReference => disconnect.server_reference = value.text(),
                    _ => {}
                },
            )?;
        disconnect.user_properties = block.user;
        match self.sender {
            Sender::Client if disconnect.server_reference.is_some() => {
                refused("Server Reference from a client")
            }
            // [MQTT5-3.14.2-2]
            Sender::Server if disconnect.session_expiry.is_some() => {
                refused("Session Expiry Interval from a server")
            }
            Sender::Client | Sender::Server => Ok(disconnect),
        }
    }

    pub(super) fn auth<'a>(&self, reader: &mut FieldReader<'a>) -> Result<Auth<'a>, DecodeError> {
        let mut auth = Auth {
            reason: Reason::Success,
            method: None,
            data: None,
            reason_string: None,
            user_properties: Default::default(),
        };
        if reader.is_empty() && self.sender == Sender::Server {
            return Ok(auth);
        }
        if !reader.is_empty() {
            auth.reason = reason(reader, reason_carrier::AUTH)?;
        }
        // 3.15.2.1 lists which side may send which code.
        let wrong = match self.sender {
            Sender::Client => Reason::Success,
            Sender::Server => Reason::Reauthenticate,
        };
        if auth.reason == wrong {
            return refused("AUTH reason code of the other side");
        }
        let block =
            read_block(reader, carrier::AUTH, self.limits, |property, value| match property {
                Property::AuthenticationMethod => auth.method = value.text(),
                Property::AuthenticationData => auth.data = value.binary(),
                Property::ReasonString => auth.reason_string = value.text(),
                _ => {}
            })?;
        if auth.method.is_none() {
            return refused("AUTH without an Authentication Method");
        }
        auth.user_properties = block.user;
        Ok(auth)
    }
}
