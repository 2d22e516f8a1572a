//! Shows what would be sent, and sends nothing: for `--dry-run`.

use std::fmt;
use std::sync::Arc;

use super::github::{render_comment, render_issue};
use super::slack::render_text;
use crate::incident::TransitionKind;
use crate::notify::{Notification, Notifier, Receipt, SendError};

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The text of a chat message.
    Message,
    /// Title and body of an issue, or a comment.
    Issue,
}

/// Something that would have been sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed {
    /// Whose form it has.
    pub form: Form,
    /// Title of an issue; `None` for messages and comments.
    pub title: Option<String>,
    /// The text as the receiver would get it.
    pub text: String,
}

/// Where it goes instead. Called by several tasks, so it writes each one as a whole.
pub type Show = Arc<dyn Fn(&Printed) + Send + Sync>;

/// Hands everything to a function.
#[derive(Clone)]
pub struct Print {
    form: Form,
    show: Show,
}

impl fmt::Debug for Print {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Print").field("form", &self.form).finish_non_exhaustive()
    }
}

impl Print {
    /// Shows in this form, by this function.
    #[must_use]
    pub fn new(form: Form, show: Show) -> Self {
        Self { form, show }
    }

    /// What would be sent.
    #[must_use]
    pub fn printed(form: Form, notification: &Notification) -> Printed {
        let opened = notification.transition.kind == TransitionKind::Opened;
        match form {
            Form::Message => {
                let text = render_text(notification)["text"].as_str().unwrap_or_default().to_owned();
                Printed { form, title: None, text }
            }
            Form::Issue if opened => {
                let (title, text) = render_issue(notification);
                Printed { form, title: Some(title), text }
            }
            Form::Issue => Printed { form, title: None, text: render_comment(notification) },
        }
    }
}

impl Notifier for Print {
    async fn send(&self, notification: &Notification, earlier: Option<&Receipt>) -> Result<Receipt, SendError> {
        (self.show)(&Self::printed(self.form, notification));
        Ok(earlier.cloned().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::notify::fixture;

    #[tokio::test]
    async fn shows_and_sends_nothing() {
        let shown = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&shown);
        let print = Print::new(Form::Issue, Arc::new(move |one| sink.lock().unwrap().push(one.clone())));
        for transition in [fixture::opened(), fixture::resolved()] {
            print.send(&fixture::notification(transition, "github"), None).await.unwrap();
        }
        let shown = shown.lock().unwrap();
        assert_eq!(shown[0].title.as_deref(), Some("[sigyn] cart: more errors than usual"));
        assert_eq!(shown[1].title, None);
        let message = Print::printed(Form::Message, &fixture::notification(fixture::opened(), "slack"));
        assert!(message.text.starts_with("🔴 CRITICAL cart: more errors than usual\n"), "{}", message.text);
    }
}
