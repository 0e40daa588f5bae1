"""ImageError: an image that cannot be made or used. The text is one line and says what to do."""


class ImageError(Exception):
    pass
