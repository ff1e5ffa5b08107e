//! The addresses of `runtime/sys/socket.rs`, from inside.

use super::*;
use std::mem::{offset_of, size_of_val};

/// As many as it takes for every byte to be every value: the seed is fixed, so the cases are always the same.
fn addresses() -> impl Iterator<Item = SocketAddr> {
    let mut state = 16u64;
    let mut random = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    };
    (0..20_000).map(move |n| {
        let (ip, port) = (std::array::from_fn::<u8, 16, _>(|_| random() as u8), random() as u16);
        match n % 3 {
            0 => (Ipv4Addr::from([ip[0], ip[1], ip[2], ip[3]]), port).into(),
            1 => SocketAddrV6::new(Ipv4Addr::from([ip[0]; 4]).to_ipv6_mapped(), port, 0, 0).into(),
            _ => SocketAddrV6::new(Ipv6Addr::from(ip), port, random(), random()).into(),
        }
    })
}

/// S16: every address comes back from the kernel's form as it went in, with its port, flow and scope.
#[test]
fn an_address_comes_back_from_the_kernels_form_as_it_was() {
    for address in addresses() {
        let (raw, length) = RawAddress::of(&address);
        assert_eq!(raw.parse(length).unwrap(), address);
        // What the kernel writes beyond is not looked at; a form that is cut short is none.
        for short in 0..length {
            assert!(raw.parse(short).is_err(), "{address} in {short} bytes");
        }
    }
}

/// S16: each byte is where the C library's `struct` has it.
#[test]
fn an_address_lies_as_the_c_library_has_it() {
    for address in addresses().take(3_000) {
        let (raw, length) = RawAddress::of(&address);
        let at = |offset: usize, bytes: &[u8]| raw.0[offset..][..bytes.len()] == *bytes;
        match address {
            SocketAddr::V4(v4) => {
                assert_eq!(length as usize, size_of::<libc::sockaddr_in>());
                assert!(at(0, &(libc::AF_INET as libc::sa_family_t).to_ne_bytes()));
                assert!(at(offset_of!(libc::sockaddr_in, sin_port), &v4.port().to_be_bytes()));
                assert!(at(offset_of!(libc::sockaddr_in, sin_addr), &v4.ip().octets()));
            }
            SocketAddr::V6(v6) => {
                type V6 = libc::sockaddr_in6;
                assert_eq!(length as usize, size_of::<V6>());
                assert!(at(0, &(libc::AF_INET6 as libc::sa_family_t).to_ne_bytes()));
                assert!(at(offset_of!(V6, sin6_port), &v6.port().to_be_bytes()));
                assert!(at(offset_of!(V6, sin6_addr), &v6.ip().octets()));
                assert!(at(offset_of!(V6, sin6_flowinfo), &v6.flowinfo().to_ne_bytes()));
                assert!(at(offset_of!(V6, sin6_scope_id), &v6.scope_id().to_ne_bytes()));
            }
        }
        assert!(size_of_val(&raw) >= length as usize);
    }
    // Another family is none.
    let mut raw = RawAddress([0; 32]);
    raw.0[..2].copy_from_slice(&(libc::AF_UNIX as libc::sa_family_t).to_ne_bytes());
    assert!(raw.parse(28).is_err() && RawAddress([0; 32]).parse(28).is_err());
}

/// S16: one that the kernel fills in is read as std reads it, and given to the kernel as std gives it.
#[test]
fn the_kernel_reads_addresses_as_we_write_them() {
    for name in ["127.0.0.1:0", "[::1]:0"] {
        let name: SocketAddr = name.parse().unwrap();
        let Ok(socket) = tcp_socket(name.is_ipv6()) else { continue }; // A machine without IPv6.
        if bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &name).is_err() {
            continue;
        }
        let ours = local_addr(std::os::fd::AsRawFd::as_raw_fd(&socket)).unwrap();
        assert_eq!(std::net::TcpListener::from(socket).local_addr().unwrap(), ours);
        assert_eq!(ours.ip(), name.ip());
    }
}
