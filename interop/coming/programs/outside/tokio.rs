fn main() {
    let socket =
        std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let socket = tokio::net::TcpListener::from_std(socket);
    println!("made: {}", socket.is_ok());
}
