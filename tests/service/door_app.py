"""The app of `trusting`, for processes of their own."""

from nms.common import web
from nms.common.settings import RoleSettings, get_settings
from tests.service.trusting import ROLE

app = web.create_app(ROLE, get_settings(), RoleSettings())
