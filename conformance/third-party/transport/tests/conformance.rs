use chronik_conformance::transport;
use example_transport::MyTransport;

fn main() -> std::process::ExitCode {
    transport::main(MyTransport::default())
}
