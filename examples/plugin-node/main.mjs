#!/usr/bin/env node
import { serve } from "./xrtcbridge-plugin.mjs";
import { webhook, websocket } from "./web.mjs";

serve(websocket, webhook);
