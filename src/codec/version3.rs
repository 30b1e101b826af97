//! What versions 3.1 and 3.1.1 say differently: their return codes, both ways.

use super::reason::Reason;

/// The Connect Return Code that says `reason`, if there is one. Without one a server closes
/// without a CONNACK `[MQTT311-3.2.2-6]`.
pub(super) fn return_code(reason: Reason) -> Option<u8> {
    match reason {
        Reason::Success => Some(0),
        Reason::UnsupportedProtocolVersion => Some(1),
        Reason::ClientIdentifierNotValid => Some(2),
        Reason::ServerUnavailable
        | Reason::ServerBusy
        | Reason::UseAnotherServer
        | Reason::QuotaExceeded
        | Reason::ConnectionRateExceeded => Some(3),
        Reason::BadUserNameOrPassword => Some(4),
        Reason::NotAuthorized | Reason::Banned | Reason::BadAuthenticationMethod => Some(5),
        _ => None,
    }
}

/// The reason that a Connect Return Code stands for; 6 and above are reserved.
pub(super) fn connack_reason(code: u8) -> Option<Reason> {
    match code {
        0 => Some(Reason::Success),
        1 => Some(Reason::UnsupportedProtocolVersion),
        2 => Some(Reason::ClientIdentifierNotValid),
        3 => Some(Reason::ServerUnavailable),
        4 => Some(Reason::BadUserNameOrPassword),
        5 => Some(Reason::NotAuthorized),
        _ => None,
    }
}

/// The SUBACK code that says `reason`: every failure is 0x80.
pub(super) fn suback_code(reason: Reason) -> u8 {
    if reason.is_error() { 0x80 } else { reason as u8 }
}

/// The reason that a SUBACK code stands for; all but these are reserved `[MQTT311-3.9.3-2]`.
pub(super) fn suback_reason(code: u8) -> Option<Reason> {
    match code {
        0 => Some(Reason::Success),
        1 => Some(Reason::GrantedQoS1),
        2 => Some(Reason::GrantedQoS2),
        0x80 => Some(Reason::UnspecifiedError),
        _ => None,
    }
}
