//! What can be bound and connected to. A literal address is parsed on the spot; a name is looked up by std's
//! `getaddrinfo`, which blocks, on a thread that is made for it and ends with it.

use crate::current;
use crate::waker::drop_contained;
use std::future::poll_fn;
use std::io;
use std::net::{self, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;

/// As [`std::net::ToSocketAddrs`], but a name does not block the loop while it is looked up.
///
/// `SocketAddr`, `("127.0.0.1", 80)`, `"localhost:80"`, `&[SocketAddr]`, and so on. Sealed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an address",
    note = "use `\"host:port\"`, `(\"host\", port)`, a `SocketAddr` or a slice of them"
)]
pub trait ToSocketAddrs: sealed::Sealed {}

impl<T: sealed::Sealed + ?Sized> ToSocketAddrs for T {}

/// Addresses, or a name that stands for some.
#[derive(Debug)]
pub enum Addresses {
    Known(Vec<SocketAddr>),
    Name(String, u16),
    Invalid(&'static str),
}

mod sealed {
    #[diagnostic::on_unimplemented(
        message = "`{Self}` is not an address",
        note = "use `\"host:port\"`, `(\"host\", port)`, a `SocketAddr` or a slice of them"
    )]
    pub trait Sealed {
        fn addresses(&self) -> super::Addresses;
    }
}

impl Addresses {
    pub(crate) async fn resolve(self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Addresses::Known(addresses) if addresses.is_empty() => {
                current::operation().await;
                Ok(addresses)
            }
            Addresses::Known(addresses) => Ok(addresses),
            Addresses::Invalid(why) => {
                current::failed(io::Error::new(io::ErrorKind::InvalidInput, why)).await
            }
            Addresses::Name(host, port) => look_up(host, port).await,
        }
    }
}

#[derive(Default)]
struct LookUp {
    result: Option<io::Result<Vec<SocketAddr>>>,
    waker: Option<Waker>,
}

/// When the caller gives up, the thread goes on alone until the resolver lets it go.
async fn look_up(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let shared: Arc<Mutex<LookUp>> = Arc::default();
    let theirs = shared.clone();
    let resolve = move || {
        let result =
            net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), port)).map(Vec::from_iter);
        let mut look_up = lock(&theirs);
        look_up.result = Some(result);
        let waker = look_up.waker.take();
        drop(look_up);
        waker.into_iter().for_each(Waker::wake);
    };
    thread::Builder::new().name("waken-resolver".into()).spawn(resolve)?;
    poll_fn(|cx| {
        let waker = cx.waker().clone();
        let mut look_up = lock(&shared);
        match look_up.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                let old = look_up.waker.replace(waker);
                drop(look_up);
                old.into_iter().for_each(drop_contained);
                Poll::Pending
            }
        }
    })
    .await
}

fn lock(look_up: &Mutex<LookUp>) -> MutexGuard<'_, LookUp> {
    look_up.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What std converts without looking anything up.
macro_rules! known {
    ($($address:ty),*) => {$(
        impl sealed::Sealed for $address {
            fn addresses(&self) -> Addresses {
                Addresses::Known(vec![SocketAddr::from(*self)])
            }
        }
    )*};
}

known!(SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

impl sealed::Sealed for [SocketAddr] {
    fn addresses(&self) -> Addresses {
        Addresses::Known(self.to_vec())
    }
}

impl sealed::Sealed for (&str, u16) {
    fn addresses(&self) -> Addresses {
        let (host, port) = *self;
        match host.parse::<IpAddr>() {
            Ok(ip) => Addresses::Known(vec![SocketAddr::new(ip, port)]),
            Err(_) if host.is_empty() => Addresses::Invalid("there is no host before the `:`"),
            Err(_) if host.contains([':', '[', ']']) => {
                Addresses::Invalid("an address is `host:port`, with IPv6 `[::1]:80`")
            }
            Err(_) if host.contains(char::is_whitespace) => {
                Addresses::Invalid("a host name has no white space")
            }
            Err(_) => Addresses::Name(host.to_owned(), port),
        }
    }
}

impl sealed::Sealed for (String, u16) {
    fn addresses(&self) -> Addresses {
        (self.0.as_str(), self.1).addresses()
    }
}

impl sealed::Sealed for str {
    fn addresses(&self) -> Addresses {
        if let Ok(address) = self.parse() {
            return Addresses::Known(vec![address]);
        }
        match self.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
            Some((host, Ok(port))) => (host, port).addresses(),
            Some((host, Err(_))) if host.contains('[') || self.ends_with(']') => {
                Addresses::Invalid("an address is `host:port`, with IPv6 `[::1]:80`")
            }
            Some((_, Err(_))) => {
                Addresses::Invalid("the port after the `:` is not a number up to 65535")
            }
            None => Addresses::Invalid("an address is `host:port`, and this has no `:port`"),
        }
    }
}

impl sealed::Sealed for String {
    fn addresses(&self) -> Addresses {
        self.as_str().addresses()
    }
}

impl<T: sealed::Sealed + ?Sized> sealed::Sealed for &T {
    fn addresses(&self) -> Addresses {
        (**self).addresses()
    }
}
