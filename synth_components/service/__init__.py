"""The REST service: ``synth serve MODEL`` answers requests for rows over HTTP, and so does a SageMaker container.

``app.application`` is the ASGI application, ``server.run`` serves one until it is told to stop.  FastAPI and uvicorn
(extra ``serve``) are imported within functions, so that everything else can be read without them.
"""
