//! Functions for the conformance cases, on `lambda_http` with a streaming response; the path chooses what is answered.

use lambda_http::lambda_runtime::streaming::{channel, Body};
use lambda_http::{run_with_streaming_response, service_fn, Error, Request, RequestExt, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Waits until the test opens the gate that the request names.
async fn pass(gate: Option<&str>) -> Result<(), Error> {
    if let Some(port) = gate {
        let mut socket = TcpStream::connect(format!("127.0.0.1:{port}")).await?;
        socket.write_all(b"waiting\n").await?;
        socket.read_u8().await?;
    }
    Ok(())
}

async fn handler(request: Request) -> Result<Response<Body>, Error> {
    let gate = request
        .query_string_parameters()
        .first("gate")
        .map(String::from);
    let (mut sender, body) = channel();
    match request.uri().path() {
        "/three" => {
            tokio::spawn(async move {
                for word in ["one", "two", "three"] {
                    if sender.send_data(word.into()).await.is_err() || pass(gate.as_deref()).await.is_err() {
                        return;
                    }
                }
            });
            Ok(Response::new(body))
        }
        "/prelude" => Ok(Response::builder()
            .status(201)
            .header("x-one", "1")
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2")
            .body(Body::from("body"))?),
        "/fails-before" => Err("before the first byte".into()),
        "/fails-after" => {
            tokio::spawn(async move {
                let _ = sender.send_data("partial".into()).await;
                let _ = pass(gate.as_deref()).await;
                sender.abort();
            });
            Ok(Response::new(body))
        }
        "/megabytes" => {
            let parameters = request.query_string_parameters();
            let count: usize = parameters.first("megabytes").unwrap_or("1").parse()?;
            tokio::spawn(async move {
                for _ in 0..count {
                    if sender.send_data(vec![b'x'; 1024 * 1024].into()).await.is_err() {
                        return;
                    }
                }
            });
            Ok(Response::new(body))
        }
        path => Ok(Response::new(Body::from(format!("{path} {}", std::process::id())))),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run_with_streaming_response(service_fn(handler)).await
}
