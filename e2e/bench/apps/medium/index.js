const express = require("express");
require("axios"), require("lodash"), require("pg"), require("zod"), require("react-dom/server");
const version = "VERSION";
express().get("/", (req, res) => res.send(version)).listen(process.env.PORT);
