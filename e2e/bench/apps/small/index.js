const express = require("express");
const version = "VERSION";
express().get("/", (req, res) => res.send(version)).listen(process.env.PORT);
