"""``python -m api`` serves the API with the settings of the environment."""

from api.app import serve
from orchestrator.settings import load

serve(load())
