//! E-mail by SMTP, with TLS.

use std::time::SystemTime;

use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use super::render::{plain, subject};
use super::{Notice, Refusal, http};
use crate::config::{Email, MailTls};

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// Sends a notice once. `key` is the same at every attempt and becomes the mail's id, so
/// that a mailbox can tell a mail that came twice.
pub(super) async fn send(email: &Email, notice: &Notice, key: &str) -> Result<String, Refusal> {
    let message = message(email, notice, key)?;
    let transport = transport(email)?;
    match transport.send(message).await {
        Ok(response) => {
            let said = response.message().next().unwrap_or("taken");
            Ok(format!("{} {said}", response.code()))
        }
        Err(error) => Err(refusal(&error)),
    }
}

fn message(email: &Email, notice: &Notice, key: &str) -> Result<Message, Refusal> {
    let mut builder = Message::builder()
        .from(email.from.parsed().clone())
        .date(SystemTime::now())
        .message_id(Some(format!("<{key}@walproof>")))
        // Mails of one incident are shown together.
        .references(format!("<{}@walproof>", notice.id))
        .user_agent(concat!("walproof/", env!("CARGO_PKG_VERSION")).to_owned())
        .subject(subject(notice));
    for to in &email.to {
        builder = builder.to(to.parsed().clone());
    }
    builder
        .header(ContentType::TEXT_PLAIN)
        .body(plain(notice))
        .map_err(|error| Refusal::lasting(format!("the mail cannot be written: {error}")))
}

fn transport(email: &Email) -> Result<Transport, Refusal> {
    let tls = match email.protection() {
        MailTls::None => Tls::None,
        MailTls::Implicit => Tls::Wrapper(parameters(email)?),
        MailTls::Starttls => Tls::Required(parameters(email)?),
    };
    let mut builder = Transport::builder_dangerous(&email.host)
        .port(email.port())
        .timeout(Some(http::LIMIT))
        .tls(tls);
    if let (Some(name), Some(password)) = (&email.username, &email.password) {
        let password = password
            .read("password")
            .map_err(|error| Refusal::passing(error.to_string()))?;
        builder = builder.credentials(Credentials::new(name.clone(), password));
    }
    Ok(builder.build())
}

fn parameters(email: &Email) -> Result<TlsParameters, Refusal> {
    let mut builder = TlsParameters::builder(email.host.clone());
    if let Some(path) = &email.ca_file {
        let wrong =
            |words: String| Refusal::passing(format!("CA file {}: {words}", path.display()));
        let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let certificate = Certificate::from_pem(&pem).map_err(|error| wrong(error.to_string()))?;
        if memchr::memmem::find(&pem, b"-----BEGIN CERTIFICATE-----").is_none() {
            return Err(wrong("it holds no PEM certificate".to_owned()));
        }
        builder = builder.add_root_certificate(certificate);
    }
    builder
        .build_rustls()
        .map_err(|error| Refusal::passing(format!("TLS: {error}")))
}

/// What a mail server said, or why it could not be asked.
fn refusal(error: &lettre::transport::smtp::Error) -> Refusal {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let more = next.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = next.source();
    }
    let words: String = words
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(300)
        .collect();
    // A 5xx of SMTP is for good; an error of our own making (no TLS offered) is too.
    if error.is_permanent() || error.is_client() {
        Refusal::lasting(words)
    } else {
        Refusal::passing(words)
    }
}
