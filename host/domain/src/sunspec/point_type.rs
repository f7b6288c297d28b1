//! The types of points in the models.

/// The type of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum PointType {
    Int16,
    UInt16,
    Acc16,
    Enum16,
    Bitfield16,
    Count,
    ScaleFactor,
    Pad,
    Int32,
    UInt32,
    Acc32,
    Enum32,
    Bitfield32,
    Float32,
    IpAddress,
    Int64,
    UInt64,
    Acc64,
    Float64,
    Eui48,
    Ipv6Address,
    Text,
}

impl PointType {
    /// Every type with its name in the models.
    pub(super) const NAMES: [(&'static str, Self); 22] = [
        ("int16", Self::Int16),
        ("uint16", Self::UInt16),
        ("acc16", Self::Acc16),
        ("enum16", Self::Enum16),
        ("bitfield16", Self::Bitfield16),
        ("count", Self::Count),
        ("sunssf", Self::ScaleFactor),
        ("pad", Self::Pad),
        ("int32", Self::Int32),
        ("uint32", Self::UInt32),
        ("acc32", Self::Acc32),
        ("enum32", Self::Enum32),
        ("bitfield32", Self::Bitfield32),
        ("float32", Self::Float32),
        ("ipaddr", Self::IpAddress),
        ("int64", Self::Int64),
        ("uint64", Self::UInt64),
        ("acc64", Self::Acc64),
        ("float64", Self::Float64),
        ("eui48", Self::Eui48),
        ("ipv6addr", Self::Ipv6Address),
        ("string", Self::Text),
    ];

    /// The bits that mean "not implemented"; none for types with another rule: NaN, or a text without characters.
    pub(super) fn unavailable(self) -> Option<u64> {
        match self {
            Self::Int16 | Self::ScaleFactor => Some(0x8000),
            Self::UInt16 | Self::Enum16 | Self::Bitfield16 | Self::Count => Some(0xffff),
            Self::Int32 => Some(0x8000_0000),
            Self::UInt32 | Self::Enum32 | Self::Bitfield32 => Some(0xffff_ffff),
            Self::Int64 => Some(0x8000_0000_0000_0000),
            Self::UInt64 => Some(u64::MAX),
            Self::Acc16 | Self::Acc32 | Self::Acc64 | Self::IpAddress => Some(0),
            Self::Eui48 => Some(0xffff_ffff_ffff),
            Self::Float32 | Self::Float64 | Self::Ipv6Address | Self::Text | Self::Pad => None,
        }
    }

    /// Whether these registers hold a value instead of "not implemented".
    pub(super) fn is_implemented(self, registers: &[u16]) -> bool {
        let bits = registers.iter().fold(0, |bits: u64, register| bits << 16 | u64::from(*register));
        match self {
            Self::Float32 => !f32::from_bits(u32::try_from(bits).unwrap_or_default()).is_nan(),
            Self::Float64 => !f64::from_bits(bits).is_nan(),
            Self::Text | Self::Ipv6Address => registers.iter().any(|register| *register != 0),
            other => other.unavailable() != Some(bits),
        }
    }

    /// Whether it is a value, and not a scale factor or padding.
    pub(super) fn is_value(self) -> bool {
        !matches!(self, Self::ScaleFactor | Self::Pad)
    }
}
