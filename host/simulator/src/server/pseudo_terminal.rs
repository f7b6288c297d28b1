//! A serial port without hardware: a pair of pseudo terminals, one end served here, the other opened by its path.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::OptionalActions;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;

/// The served end. The client's end exists as long as this does.
pub(super) struct PseudoTerminal {
    // Two handles of the controlling end. It is no pipe, but is read and written like one.
    from_client: pipe::Receiver,
    to_client: pipe::Sender,
    /// The client's end, kept open so that a client may close and reopen it without a hang-up.
    client_end: OwnedFd,
}

impl PseudoTerminal {
    /// Opens a pair and returns the path of the client's end, which carries bytes unchanged and without an echo.
    pub(super) fn open() -> io::Result<(Self, PathBuf)> {
        let controller = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        rustix::pty::grantpt(&controller)?;
        rustix::pty::unlockpt(&controller)?;
        let path = rustix::pty::ptsname(&controller, Vec::new())?;
        let client_end = rustix::fs::open(&*path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        let mut settings = rustix::termios::tcgetattr(&client_end)?;
        settings.make_raw();
        rustix::termios::tcsetattr(&client_end, OptionalActions::Now, &settings)?;
        rustix::io::ioctl_fionbio(&controller, true)?;
        let path = PathBuf::from(OsStr::from_bytes(path.as_bytes()));
        let from_client = pipe::Receiver::from_owned_fd_unchecked(controller.try_clone()?)?;
        let to_client = pipe::Sender::from_owned_fd_unchecked(controller)?;
        Ok((Self { from_client, to_client, client_end }, path))
    }

    /// Lifts the exclusive use of a client that was killed: it would lock every later client out, since the client's end
    /// stays open here.
    fn lift_exclusive_use(&self) {
        if let Err(error) = rustix::termios::ioctl_tiocnxcl(&self.client_end) {
            tracing::debug!(%error, "simulated serial port failed to lift a client's exclusive use");
        }
    }
}

impl AsyncRead for PseudoTerminal {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.from_client).poll_read(context, into));
        self.lift_exclusive_use();
        Poll::Ready(read)
    }
}

impl AsyncWrite for PseudoTerminal {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.to_client).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.to_client).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.to_client).poll_shutdown(context)
    }
}
