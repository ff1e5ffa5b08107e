fn main() {
    let socket =
        std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = waken::AsyncTcpListener::try_from(socket);
    println!("made: {}", socket.is_ok());
}
