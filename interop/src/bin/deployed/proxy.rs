//! The PROXY protocol, version 2: a proxy says first whose connection it hands on.
//!
//! Sixteen bytes, the last two of which say how many follow: so nothing is read that is HTTP's, and hyper takes the same stream
//! over. <https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt>, section 2.2

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use waken::AsyncTcpStream;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Addresses take 36 bytes at most, and what a proxy may add of its own (TLVs) seldom more than a hundred.
const MOST: usize = 512;

/// Reads the header, and returns the client's address; none for the proxy's own connections, such as its health checks.
/// Has no time limit of its own.
pub async fn client(stream: &AsyncTcpStream) -> io::Result<Option<SocketAddr>> {
    let mut fixed = [0; 16];
    stream.read_exact(&mut fixed).await?;
    let [.., version_and_command, family, high, low] = fixed;
    if fixed[..12] != *SIGNATURE || version_and_command >> 4 != 2 {
        return Err(wrong("no PROXY header, version 2"));
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    let mut rest = [0; MOST];
    let rest = rest.get_mut(..length).ok_or_else(|| wrong("too long a PROXY header"))?;
    stream.read_exact(rest).await?;
    match (version_and_command & 15, family) {
        (0, _) => Ok(None),
        (1, 0x11) => v4(rest).map(Some),
        (1, 0x21) => v6(rest).map(Some),
        _ => Err(wrong("a PROXY header of another protocol than TCP")),
    }
}

/// Source, destination, and the port of each.
fn v4(rest: &[u8]) -> io::Result<SocketAddr> {
    let addresses: &[u8; 12] =
        rest.first_chunk().ok_or_else(|| wrong("too short a PROXY header"))?;
    let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses;
    Ok((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into())
}

fn v6(rest: &[u8]) -> io::Result<SocketAddr> {
    let too_short = || wrong("too short a PROXY header");
    let source: [u8; 16] = *rest.first_chunk().ok_or_else(too_short)?;
    let ports: [u8; 4] =
        *rest.get(32..).and_then(|ports| ports.first_chunk()).ok_or_else(too_short)?;
    Ok((Ipv6Addr::from(source), u16::from_be_bytes([ports[0], ports[1]])).into())
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
