//! How replicas are told to begin, and asked what they saw: `POST /start` and `GET /report`.

use std::io;
use std::rc::Rc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::replica::Service;

pub(super) struct Control(pub(super) Rc<Service>);

#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    Start,
    Report,
    Unknown,
}

impl crate::services::serve::Service for Control {
    type Asked = Order;

    fn read(head: &httparse::Request<'_, '_>) -> Order {
        match (head.method, head.path) {
            (Some("POST"), Some("/start")) => Order::Start,
            (Some("GET"), Some("/report")) => Order::Report,
            _ => Order::Unknown,
        }
    }

    async fn answer(&self, to: &mut TcpStream, order: Order) -> io::Result<()> {
        let (status, body) = match order {
            Order::Start => {
                self.0.start();
                ("200 OK", "{}".to_owned())
            }
            Order::Report => ("200 OK", serde_json::to_string(&self.0.counts.borrow().report())?),
            Order::Unknown => ("404 Not Found", "{}".to_owned()),
        };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        to.write_all(answer.as_bytes()).await
    }
}
