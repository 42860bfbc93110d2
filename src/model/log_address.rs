//! Where a balancer sends its log lines.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// A datagram socket on this machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogAddress {
    /// A unix datagram socket.
    Path(PathBuf),
    /// A UDP address.
    Udp(SocketAddr),
}

impl FromStr for LogAddress {
    type Err = LogAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(address) => Ok(Self::Udp(address)),
            Err(_) if text.starts_with('/') => Ok(Self::Path(PathBuf::from(text))),
            Err(_) => Err(LogAddressError),
        }
    }
}

impl fmt::Display for LogAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Udp(address) => address.fmt(f),
        }
    }
}

/// A text that names no place for log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is neither an absolute path nor an address such as 127.0.0.1:5140")]
pub struct LogAddressError;
