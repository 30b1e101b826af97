//! Reason Codes: the one table, with the packets that may carry each (MQTT 5, 2.4).

use super::words::QoS;

/// Bits for the packets a Reason Code may stand in; see [`Reason::allowed_in`].
pub mod carrier {
    /// CONNACK.
    pub const CONNACK: u16 = 1;
    /// PUBACK.
    pub const PUBACK: u16 = 1 << 1;
    /// PUBREC.
    pub const PUBREC: u16 = 1 << 2;
    /// PUBREL.
    pub const PUBREL: u16 = 1 << 3;
    /// PUBCOMP.
    pub const PUBCOMP: u16 = 1 << 4;
    /// SUBACK.
    pub const SUBACK: u16 = 1 << 5;
    /// UNSUBACK.
    pub const UNSUBACK: u16 = 1 << 6;
    /// DISCONNECT sent by a server.
    pub const DISCONNECT_SERVER: u16 = 1 << 7;
    /// DISCONNECT sent by a client.
    pub const DISCONNECT_CLIENT: u16 = 1 << 8;
    /// AUTH.
    pub const AUTH: u16 = 1 << 9;
}

use carrier::*;

macro_rules! reasons {
    ($($(#[$attribute:meta])? $code:literal $name:ident $carriers:expr;)*) => {
        /// A Reason Code. Names are the specification's; 0x00 is [`Reason::Success`] everywhere
        /// (Normal disconnection, Granted QoS 0).
        #[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(u8)]
        pub enum Reason {
            $(
                #[doc = concat!(stringify!($code), ".")]
                $(#[$attribute])?
                $name = $code,
            )*
        }

        impl Reason {
            /// Every code there is.
            pub const ALL: &'static [Reason] = &[$(Reason::$name),*];

            /// The code with the number `byte`, if there is one.
            pub const fn from_byte(byte: u8) -> Option<Reason> {
                match byte {
                    $($code => Some(Reason::$name),)*
                    _ => None,
                }
            }

            /// Whether a packet of `carrier` (one bit of [`carrier`]) may carry this code.
            pub const fn allowed_in(self, carrier: u16) -> bool {
                let carriers = match self {
                    $(Reason::$name => $carriers,)*
                };
                carriers & carrier != 0
            }

            /// The specification's name without spaces, as scripts and logs write it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Reason::$name => stringify!($name),)*
                }
            }
        }
    };
}

const ACKS: u16 = PUBACK | PUBREC;
const DISCONNECTS: u16 = DISCONNECT_SERVER | DISCONNECT_CLIENT;

reasons! {
    #[default]
    0x00 Success CONNACK | ACKS | PUBREL | PUBCOMP | SUBACK | UNSUBACK | DISCONNECTS | AUTH;
    0x01 GrantedQoS1 SUBACK;
    0x02 GrantedQoS2 SUBACK;
    0x04 DisconnectWithWill DISCONNECT_CLIENT;
    0x10 NoMatchingSubscribers ACKS;
    0x11 NoSubscriptionExisted UNSUBACK;
    0x18 ContinueAuthentication AUTH;
    0x19 Reauthenticate AUTH;
    0x80 UnspecifiedError CONNACK | ACKS | SUBACK | UNSUBACK | DISCONNECTS;
    0x81 MalformedPacket CONNACK | DISCONNECTS;
    0x82 ProtocolError CONNACK | DISCONNECTS;
    0x83 ImplementationSpecificError CONNACK | ACKS | SUBACK | UNSUBACK | DISCONNECTS;
    0x84 UnsupportedProtocolVersion CONNACK;
    0x85 ClientIdentifierNotValid CONNACK;
    0x86 BadUserNameOrPassword CONNACK;
    0x87 NotAuthorized CONNACK | ACKS | SUBACK | UNSUBACK | DISCONNECT_SERVER;
    0x88 ServerUnavailable CONNACK;
    0x89 ServerBusy CONNACK | DISCONNECT_SERVER;
    0x8A Banned CONNACK;
    0x8B ServerShuttingDown DISCONNECT_SERVER;
    0x8C BadAuthenticationMethod CONNACK | DISCONNECT_SERVER;
    0x8D KeepAliveTimeout DISCONNECT_SERVER;
    0x8E SessionTakenOver DISCONNECT_SERVER;
    0x8F TopicFilterInvalid SUBACK | UNSUBACK | DISCONNECT_SERVER;
    0x90 TopicNameInvalid CONNACK | ACKS | DISCONNECTS;
    0x91 PacketIdentifierInUse ACKS | SUBACK | UNSUBACK;
    0x92 PacketIdentifierNotFound PUBREL | PUBCOMP;
    0x93 ReceiveMaximumExceeded DISCONNECTS;
    0x94 TopicAliasInvalid DISCONNECTS;
    0x95 PacketTooLarge CONNACK | DISCONNECTS;
    0x96 MessageRateTooHigh DISCONNECTS;
    0x97 QuotaExceeded CONNACK | ACKS | SUBACK | DISCONNECTS;
    0x98 AdministrativeAction DISCONNECTS;
    0x99 PayloadFormatInvalid CONNACK | ACKS | DISCONNECTS;
    0x9A RetainNotSupported CONNACK | DISCONNECT_SERVER;
    0x9B QoSNotSupported CONNACK | DISCONNECT_SERVER;
    0x9C UseAnotherServer CONNACK | DISCONNECT_SERVER;
    0x9D ServerMoved CONNACK | DISCONNECT_SERVER;
    0x9E SharedSubscriptionsNotSupported SUBACK | DISCONNECT_SERVER;
    0x9F ConnectionRateExceeded CONNACK | DISCONNECT_SERVER;
    0xA0 MaximumConnectTime DISCONNECT_SERVER;
    0xA1 SubscriptionIdentifiersNotSupported SUBACK | DISCONNECT_SERVER;
    0xA2 WildcardSubscriptionsNotSupported SUBACK | DISCONNECT_SERVER;
}

impl Reason {
    /// Whether it says that something failed: 0x80 and above.
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// The SUBACK code that grants `qos`.
    pub const fn granted(qos: QoS) -> Reason {
        match qos {
            QoS::AtMostOnce => Reason::Success,
            QoS::AtLeastOnce => Reason::GrantedQoS1,
            QoS::ExactlyOnce => Reason::GrantedQoS2,
        }
    }
}
