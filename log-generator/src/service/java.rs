//! A Java-like service: Spring's format, and stack traces of which Loki gets every line as an entry of its own.

use super::Role::{Batch, Chatter, Error, Fault, Frame, Fresh, Step, Thrown, Warn};
use super::{Family, Level, Line, Service, line};

pub(super) fn framed(place: &str, line: &Line, text: &str) -> String {
    let level = match line.role.level() {
        Level::Info => " INFO",
        Level::Warn => " WARN",
        Level::Error => "ERROR",
    };
    let class = if line.more.is_empty() { place } else { line.more };
    format!("{{dot}} {level} 1 --- [order,{{trace}}] [nio-8080-exec-{{thread}}] {class} : {text}")
}

pub(super) const ORDER: Service = Service {
    name: "order",
    family: Family::Java,
    pods: 2,
    warns: 1.0,
    errors: 0.9,
    place: "example.shop.order.OrderService",
    lines: &[
        line(Step, "received", 1.0, "Order {order} received for {user} with {int:1-7} items", ""),
        line(Step, "validated", 1.0, "Order {order} validated in {ms:14} ms", "example.shop.order.OrderValidator"),
        line(Step, "confirmed", 1.0, "Order {order} confirmed, total {amount} {currency}", ""),
        line(Step, "refunded", 1.0, "Order {order} refunded", "example.shop.order.RefundService"),
        line(
            Chatter,
            "",
            0.5,
            "HikariPool-1 - Pool stats (total={int:10-10}, active={int:0-9}, idle={int:1-10}, waiting=0)",
            "com.zaxxer.hikari.pool.HikariPool",
        ),
        line(Chatter, "", 0.5, "Outbox published {int:1-30} events in {ms:25} ms", "example.shop.order.Outbox"),
        line(
            Warn,
            "",
            3.0,
            "Order {order} has an address that could not be verified",
            "example.shop.order.OrderValidator",
        ),
        line(Warn, "", 2.0, "Optimistic lock on order {order}, attempt {int:2-3}", ""),
        line(
            Warn,
            "",
            1.0,
            "Resolved [org.springframework.web.HttpRequestMethodNotSupportedException: Request method 'GET' is not supported]",
            "o.s.w.s.m.s.DefaultHandlerExceptionResolver",
        ),
        line(
            Error,
            "",
            3.0,
            "Order {order} could not be priced: tax service answered 503",
            "example.shop.order.PriceClient",
        ),
        line(Error, "", 2.0, "Order {order} rejected: stock reservation expired", ""),
        line(Thrown, "", 0.6, "Publishing event for order {order} failed", "example.shop.order.Outbox"),
        line(Frame, "cause", 1.0, "java.net.SocketTimeoutException: Read timed out", ""),
        line(Frame, "frame", 1.0, "\tat java.base/sun.nio.ch.NioSocketImpl.timedRead(NioSocketImpl.java:288)", ""),
        line(Frame, "frame", 1.0, "\tat example.shop.order.BrokerClient.publish(BrokerClient.java:118)", ""),
        line(Frame, "frame", 1.0, "\tat example.shop.order.Outbox.flush(Outbox.java:64)", ""),
        line(
            Frame,
            "new_cause",
            1.0,
            "java.lang.ArrayIndexOutOfBoundsException: Index 12 out of bounds for length 12",
            "",
        ),
        line(
            Frame,
            "new_frame",
            1.0,
            "\tat example.shop.pricing.PriceCalculator.roundingRule(PriceCalculator.java:203)",
            "",
        ),
        line(Frame, "new_frame", 1.0, "\tat example.shop.pricing.PriceCalculator.total(PriceCalculator.java:91)", ""),
        line(Frame, "new_frame", 1.0, "\tat example.shop.order.OrderService.confirm(OrderService.java:142)", ""),
        line(
            Frame,
            "new_frame",
            1.0,
            "\tat java.base/java.util.concurrent.ThreadPoolExecutor.runWorker(ThreadPoolExecutor.java:1144)",
            "",
        ),
        line(
            Fault(Level::Error),
            "exception",
            1.0,
            "Servlet.service() for servlet [dispatcherServlet] threw exception [Request processing failed] with root cause",
            "o.a.c.c.C.[dispatcherServlet]",
        ),
        line(
            Fault(Level::Error),
            "oom",
            2.0,
            "Handler dispatch failed: java.lang.OutOfMemoryError: Java heap space",
            "o.a.c.c.C.[dispatcherServlet]",
        ),
        line(
            Fresh,
            "",
            1.0,
            "Delivery window {int:8-18}:00 proposed for order {order}",
            "example.shop.order.DeliveryPlanner",
        ),
        line(Fresh, "", 1.0, "Loyalty points for {user} updated", "example.shop.order.LoyaltyListener"),
        line(Batch, "", 1.0, "Closed books for order {order}", "example.shop.order.NightlyClose"),
    ],
};
