"""The app of `asgi_app.py` on Mangum, which buffers responses."""

from mangum import Mangum
from web_app import app  # type: ignore[import-not-found]  # in this folder, the function's

handler = Mangum(app, lifespan="off")
