"""The app of `asgi_app.py` on Mangum, which buffers responses."""

from mangum import Mangum
from web_app import app

handler = Mangum(app, lifespan="off")
