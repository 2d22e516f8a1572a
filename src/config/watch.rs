//! Says when the content of the settings file has changed.
//!
//! The folder is watched, not the file: editors replace the file, and a mounted ConfigMap replaces a symbolic link beside
//! it. Only a changed content counts, so anything else that happens in the folder is silent. Where the system tells
//! nothing (network disks), a look every 30 s does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::yaml::MAX_BYTES;

/// A change counts when nothing has happened for this long: writers write in pieces.
const QUIET: Duration = Duration::from_millis(500);
/// Waiting for quiet ends here.
const PATIENCE: Duration = Duration::from_secs(5);
/// A look without being told.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// A watch over one file.
pub struct FileWatch {
    file: PathBuf,
    seen: Option<Vec<u8>>,
    told: mpsc::Receiver<()>,
    quiet: Duration,
    // Dropping it ends the watching; without it there is still the look every 30 s.
    _watcher: Option<RecommendedWatcher>,
}

impl FileWatch {
    /// Watches the folder of `file`. The content that it has now is taken as known.
    pub async fn new(file: PathBuf) -> Self {
        let (tell, told) = mpsc::channel(1);
        let watcher = watch(&file, tell)
            .inspect_err(|error| {
                tracing::warn!(file = %file.display(), %error, "cannot watch the settings' folder; looking every 30 s");
            })
            .ok();
        let seen = content(&file).await;
        Self { file, seen, told, quiet: QUIET, _watcher: watcher }
    }

    /// Returns when the file has another content than when it was last asked. A file that is gone has not changed.
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) {
        loop {
            tokio::select! {
                Some(()) = self.told.recv() => self.settle().await,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let now = content(&self.file).await;
            if now.is_some() && now != self.seen {
                self.seen = now;
                return;
            }
        }
    }

    /// Takes the content that it has now as known: for who reads it right after this, whoever asked for that.
    pub async fn look(&mut self) {
        let now = content(&self.file).await;
        if now.is_some() {
            self.seen = now;
        }
    }

    async fn settle(&mut self) {
        let quiet = async { while let Ok(Some(())) = tokio::time::timeout(self.quiet, self.told.recv()).await {} };
        // Over either way.
        let _ = tokio::time::timeout(PATIENCE, quiet).await;
    }
}

fn watch(file: &Path, tell: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // Our own reading is an event too.
        if event.is_ok_and(|event| !matches!(event.kind, EventKind::Access(_))) {
            // Full: it is told already.
            let _ = tell.try_send(());
        }
    })?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// `None` when it cannot be read, or is too long to be a settings file.
async fn content(file: &Path) -> Option<Vec<u8>> {
    let about = tokio::fs::metadata(file).await.ok()?;
    if about.len() > MAX_BYTES as u64 {
        return None;
    }
    tokio::fs::read(file).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn changes(watch: &mut FileWatch) -> bool {
        tokio::time::timeout(Duration::from_secs(120), watch.changed()).await.is_ok()
    }

    async fn quick(file: PathBuf) -> FileWatch {
        FileWatch { quiet: Duration::from_millis(20), ..FileWatch::new(file).await }
    }

    #[tokio::test]
    async fn writing_and_replacing_are_seen_and_equal_content_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sigyn.yaml");
        std::fs::write(&file, "a").unwrap();
        let mut watch = quick(file.clone()).await;
        std::fs::write(&file, "b").unwrap();
        assert!(changes(&mut watch).await);
        // An editor.
        let other = folder.path().join(".sigyn.yaml.swp");
        std::fs::write(&other, "c").unwrap();
        std::fs::rename(&other, &file).unwrap();
        assert!(changes(&mut watch).await);
        // Same content, then something else in the folder, then nothing.
        std::fs::write(&file, "c").unwrap();
        std::fs::write(folder.path().join("other"), "x").unwrap();
        std::fs::remove_file(&file).unwrap();
        let silent = tokio::time::timeout(Duration::from_millis(200), watch.changed()).await;
        assert!(silent.is_err());
        std::fs::write(&file, "d").unwrap();
        assert!(changes(&mut watch).await);
        // Read by others.
        std::fs::write(&file, "e").unwrap();
        watch.look().await;
        assert!(tokio::time::timeout(Duration::from_millis(200), watch.changed()).await.is_err());
        std::fs::write(&file, "f").unwrap();
        assert!(changes(&mut watch).await);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_config_map_is_seen() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (data, text) in [("..1", "a"), ("..2", "b")] {
            std::fs::create_dir(at(data)).unwrap();
            std::fs::write(at(data).join("sigyn.yaml"), text).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/sigyn.yaml", at("sigyn.yaml")).unwrap();
        let mut watch = quick(at("sigyn.yaml")).await;
        symlink("..2", at("..data_tmp")).unwrap();
        std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert!(changes(&mut watch).await);
    }
}
