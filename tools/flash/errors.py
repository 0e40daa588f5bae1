"""FlashError: what went wrong at a port, in one line with what to do."""

import errno

AGAIN = "run the same command again: it goes on where it was"


class FlashError(Exception):
    pass


def explain(error: BaseException, port: str, started: bool) -> str:
    """One line for anything that opening or using a port can raise. `started`: the chip has already answered."""
    number = _errno_of(error)
    text = str(error)
    if started and "MD5" in text:
        return f"{port}: what was written is not what the flash holds: {AGAIN}; if it stays so, the flash is worn out"
    if started:
        return f"{port}: lost the board half way (unplugged? loose cable?): plug it in and {AGAIN}"
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO) or isinstance(error, FileNotFoundError):
        return f"{port}: no such port: plug the board in, or leave PORT= out to have it looked for"
    if number in (errno.EACCES, errno.EPERM):
        return (f"{port}: no permission: `sudo usermod -aG dialout $USER` (group uucp on some systems), "
                "log out and in again")
    if number in (errno.EBUSY, errno.EAGAIN):
        return f"{port}: in use by another program: end it (collector? console? terminal?) and run this again"
    if number in (errno.ENOTTY, errno.EISDIR, errno.EINVAL) or "Could not configure port: (25" in text:
        return f"{port}: is not a serial port: name the device, such as PORT=/dev/ttyUSB0"
    if number == errno.EIO or "Could not configure port: (5" in text:
        return f"{port}: the board went away (unplugged? loose cable?): plug it in and run this again"
    if text.startswith("Could not open") or number is not None:  # the system's own words stand last, in brackets
        return f"{port}: is no serial port that can be used: {text.strip().splitlines()[-1].strip('()')}"
    return (f"{port}: no chip answers: is it a data cable? Hold BOOT, press RESET, let BOOT go, and run this again "
            f"({text.splitlines()[0].rstrip('.') if text else type(error).__name__})")


def _errno_of(error: BaseException | None) -> int | None:
    """The system's reason, which pyserial and esptool wrap in exceptions of their own, some only in the text."""
    while error is not None:
        number = getattr(error, "errno", None)
        if isinstance(number, int):
            return number
        for known in (errno.ENOENT, errno.EACCES, errno.EBUSY, errno.EAGAIN, errno.ENODEV, errno.ENXIO,
                      errno.EISDIR, errno.ENOTTY, errno.EIO):  # fmt: skip
            if f"[Errno {known}]" in str(error):
                return known
        error = error.__cause__ or error.__context__
    return None
